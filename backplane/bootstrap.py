"""Brings a fresh checkout to life, then serves, migrates, administers or tests.

`bin/serve`, `bin/turn`, `bin/migrate`, `bin/admin` and `bin/test` enter here with whatever Python the machine has,
before any dependency is installed: this module and those it imports stand on the standard library alone. The set-up is
a plan of steps; when all are fresh, the server takes this process's place within milliseconds, so signals and the exit
status are its own.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from backplane.arguments import ADMIN, MIGRATE, SERVE, TURN, Command
from backplane.config import effective
from backplane.embedded_postgres import system_binaries
from backplane.package_index import uv_environment
from backplane.setup_steps import Step, StepFailedError, Workshop
from backplane.system_packages import SERVE_NEEDS, TEST_NEEDS, WEB_NEEDS, MissingPackagesError, Need, ensure

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
TOOLS = ".setup/tools"

COMMANDS = {
    "serve": (SERVE, "server.main"),
    "turn": (TURN, "server.relay_main"),
    "migrate": (MIGRATE, "backplane.migrate_command"),
    "admin": (ADMIN, "booking.admin_command"),
}

# Tests of a file share fixtures. In the order of tests/conftest.py: in xdist's own, by number of tests, files of one
# long test come last and leave the other processes idle.
SIDE_BY_SIDE = ["-n", str(os.cpu_count() or 1), "--dist", "loadfile", "--no-loadscope-reorder"]

TEST_USAGE = """usage: bin/test [PYTEST ARGUMENT ...]

Sets up what the tests need (Debian packages when root, Python and browser libraries, the compiled packet path), then
runs ruff, mypy and at last pytest. Without arguments the tests run side by side, a process for each core. Arguments go
to pytest; some that are useful here:

  -m "not slow"       leave out what takes longer than ten seconds
  -k WORDS            only tests whose name fits
  tests/rtc           only the tests of one package
  -x                  stop at the first failure

The exit status is 0 only when every check and every test has passed.
"""


def tools(root: Path) -> Step:
    """What installs the packages (uv) and builds the packet path (setuptools), in an environment of their own."""
    home, lock = root / TOOLS, root / "requirements-setup.lock"
    base = getattr(sys, "_base_executable", sys.executable)
    create = [base, "-m", "venv", "--clear", str(home)]
    install = [str(home / "bin/python"), "-m", "pip", "install", "--require-hashes", "--no-deps", "--no-compile"]
    install += ["--no-input", "--no-color", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(lock)]
    inputs: tuple[str | Path, ...] = (identity(), str(root), lock)
    return Step("tools", "Installers", inputs, (f"{TOOLS}/bin/uv",), lambda: [(create, root), (install, root)])


def identity() -> str:
    """Of the Python that the environments are made of."""
    return f"{sys.version} {sys.base_prefix}"


def environment(root: Path) -> Step:
    """The virtual environment, with the checkout on its import path. It is always made anew: from uv's cache its
    packages come back in seconds."""
    base = getattr(sys, "_base_executable", sys.executable)
    create = [str(root / TOOLS / "bin/uv"), "venv", "--clear", "--no-project", "--python", base, str(root / ".venv")]
    link = "import sys, sysconfig; open(sysconfig.get_path('purelib') + '/wadud.pth', 'w').write(sys.argv[1] + '\\n')"
    commands = [(create, root), ([str(root / ".venv/bin/python"), "-c", link, str(root)], root)]
    inputs = (identity(), str(root))
    outputs = (".venv/bin/python",)
    return Step(
        "environment",
        "Python environment",
        inputs,
        outputs,
        lambda: commands,
        ground=True,
        fragile=True,
        after=("tools",),
    )


def uv_install(root: Path, lock: str, *options: str) -> tuple[Sequence[str], Path]:
    """The command that installs what a lock file names, where pip would look for it. It names all, so uv need not look
    who depends on whom."""
    code = "from backplane.bootstrap import run_uv; import sys; run_uv(sys.argv[1:])"
    python = str(root / TOOLS / "bin/python")
    argv = [python, "-c", code, "pip", "install", "--python", str(root / ".venv/bin/python")]
    return [*argv, "--require-hashes", "--no-deps", "--no-progress", *options, "-r", lock], root


def run_uv(arguments: Sequence[str]) -> NoReturn:
    """Becomes uv, told what pip is told on this machine. Runs in the environment of the tools."""
    config = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    uv = str(ROOT / TOOLS / "bin/uv")
    os.execve(uv, [uv, *arguments], {**os.environ, **uv_environment(config.stdout, os.environ)})


def packages(root: Path, lock: str, title: str, covers: tuple[Step, ...] = (), after: str = "environment") -> Step:
    """The Python packages of one lock file, taken only when their hashes fit. Those that the server imports get their
    bytecode at once, for whoever must not or will not write it while serving; of those that only tests import, whoever
    imports a module first makes it: nobody imports most of them."""
    commands = [uv_install(root, "requirements.lock", "--compile-bytecode")]
    if lock != "requirements.lock":
        commands.append(uv_install(root, lock))
    outputs = (".venv/bin/python",)
    return Step(lock, title, (root / lock,), outputs, lambda: commands, fragile=True, covers=covers, after=(after,))


def postgres(root: Path) -> Step:
    """A Postgres server among the Python packages, for a machine that has none and was told of none."""
    return packages(root, "requirements-embedded.lock", "PostgreSQL server", after="requirements.lock")


def lacks_postgres() -> bool:
    """Whether there is neither the address of a Postgres nor one on this machine."""
    return not os.environ.get("WADUD_POSTGRES_URL") and system_binaries() is None


def extensions(root: Path) -> Step:
    """The compiled packet path, built in place."""
    native = root / "rtc" / "native"
    setup = root / "setup.py"
    sources = sorted([*native.glob("**/*.c"), *native.glob("**/*.h")])
    names = re.findall(r'extension\(\s*"(_\w+)"', setup.read_text())
    # --force: distutils compares times, which a checkout of older sources deceives
    python = str(root / TOOLS / "bin/python")
    argv = [python, "setup.py", "build_ext", "--inplace", "--force", f"-j{os.cpu_count() or 1}"]
    outputs = tuple(f"rtc/{name}.*.so" for name in names)
    inputs: tuple[str | Path, ...] = (sys.version, setup, root / "requirements-setup.lock", *sources)
    after = ("environment",)
    return Step("extensions", "Compiled packet path", inputs, outputs, lambda: [(argv, root)], after=after)


def bytecode(root: Path) -> Step:
    """What Python makes of our sources, for whoever must not or will not write it while serving: a quarter of a start.

    Python looks itself whether a source is newer, so this is not done anew when one has changed.
    """
    folders = sorted(path.parent.name for path in root.glob("*/__init__.py") if path.parent.name != "tests")
    argv = [str(root / ".venv/bin/python"), "-m", "compileall", "-q", "-j0", *folders]
    outputs = tuple(f"{folder}/__pycache__/*.pyc" for folder in folders)
    inputs = (sys.version, *folders)
    return Step("bytecode", "Python bytecode", inputs, outputs, lambda: [(argv, root)], after=("environment",))


def browser_libraries(root: Path, development: bool) -> Step:
    """What web/ takes from npm; with ``development`` its checkers and test tools too."""
    web = root / "web"
    inputs = (web / "package.json", web / "package-lock.json")
    install = ["npm", "ci", "--no-audit", "--no-fund", *([] if development else ["--omit=dev"])]
    commands = [(install, web)]
    serving = Step("web", "Browser libraries", inputs, ("web/node_modules",), lambda: commands, after=("environment",))
    if not development:
        return serving
    title = "Browser libraries and their tools"
    outputs = (*serving.outputs, "web/node_modules/typescript")  # serving takes it away
    return Step("web-dev", title, inputs, outputs, lambda: commands, covers=(serving,), after=serving.after)


def pages(root: Path) -> Step:
    """The pages and the client library, built from web/."""
    web = root / "web"
    folders = ("src", "styles", "locales", "assets", "scripts")
    sources = [path for folder in folders for path in sorted((web / folder).rglob("*")) if path.is_file()]
    inputs = (web / "pages.json", web / "package-lock.json", *sources)
    commands = [(["npm", "run", "build"], web)]
    after = ("web", "web-dev")  # one of them is in the plan
    return Step("pages", "Pages", inputs, ("web/dist/manifest.json",), lambda: commands, after=after)


def plan(root: Path, development: bool) -> tuple[list[Step], list[Need]]:
    """Steps in order and what they need of the machine, for serving or, with ``development``, for testing as well."""
    serving = packages(root, "requirements.lock", "Python packages")
    needs = list(SERVE_NEEDS)
    if development:  # its lock names what the other two name
        steps = [packages(root, "requirements-dev.lock", "Python packages", covers=(serving, postgres(root)))]
        needs += TEST_NEEDS
    else:
        steps = [serving, *([postgres(root)] if lacks_postgres() else [])]
    steps = [tools(root), environment(root), *steps, bytecode(root), extensions(root)]
    if (root / "web" / "package-lock.json").exists():
        steps += [browser_libraries(root, development), pages(root)]
        needs += WEB_NEEDS
    return steps, needs


def set_up(workshop: Workshop, steps: Sequence[Step], needs: Sequence[Need], always_probe: bool = False) -> None:
    """Performs the steps that are stale; with none, nothing is touched.

    Raises:
        MissingPackagesError: the machine lacks something that we may not install.
        StepFailedError: a step failed.
    """
    if not always_probe and all(workshop.fresh(step) for step in steps):
        return
    started = time.monotonic()
    with workshop.lock():
        stale = [step for step in steps if not workshop.fresh(step)]
        if stale:
            workshop.say(f"Setting up Wadud in {workshop.root} (only what is missing or has changed)")
        ensure(needs, lambda title, argv: workshop.run(title, "debian", [(argv, workshop.root)]))
        workshop.perform_stale(steps)
        if stale:
            workshop.say(f"Set-up done in {time.monotonic() - started:.1f} s")


def become(command: Command, module: str, arguments: Sequence[str]) -> int:
    """Sets up, then becomes the module. A mistake in options or settings is told before minutes of work, not after."""
    options = effective(arguments, os.environ, command).options
    set_up(Workshop(ROOT), *plan(ROOT, development=False))
    if getattr(options, "setup_only", False):
        return 0
    # -P keeps the caller's directory, which need not be ours, out of the import path
    os.execv(PYTHON, [str(PYTHON), "-P", "-m", module, *arguments])


def test(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(TEST_USAGE, end="")
        return 0
    workshop = Workshop(ROOT)
    set_up(workshop, *plan(ROOT, development=True), always_probe=True)
    failed = [title for title, argv in checks(ROOT) if not check(workshop, title, argv)]
    if failed:
        workshop.say(f"Failed before the tests: {', '.join(failed)}")
    # Asserts that were rewritten once are kept, for the other processes and the next run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    tests = subprocess.Popen([PYTHON, "-m", "pytest", *(arguments or SIDE_BY_SIDE)], cwd=ROOT, env=environment)
    while True:
        try:
            return tests.wait() or (1 if failed else 0)
        except KeyboardInterrupt:  # pytest got it too and is about to print its summary
            continue


def checks(root: Path) -> list[tuple[str, list[str]]]:
    """What is looked at before the tests run: title and command of each. tests/web/test_sources.py runs tsc."""
    python = str(root / ".venv/bin/python")
    return [
        ("ruff check", [python, "-m", "ruff", "check", "--quiet", "."]),
        ("ruff format", [python, "-m", "ruff", "format", "--check", "--quiet", "."]),
        ("mypy --strict", [python, "-m", "mypy", "--num-workers", "auto"]),
    ]


def check(workshop: Workshop, title: str, argv: Sequence[str]) -> bool:
    """Runs one check; its output is shown when it fails."""
    started = time.monotonic()
    result = subprocess.run(
        argv, cwd=workshop.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    passed = result.returncode == 0
    workshop.say(f"{title}: {'passed' if passed else 'FAILED'} in {time.monotonic() - started:.1f} s")
    if not passed:
        workshop.say(result.stdout, end="")
    return passed


def main(arguments: Sequence[str]) -> int:
    """Entry of bin/*: the first argument names the command. Returns the exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        name, *others = arguments
        return test(others) if name == "test" else become(*COMMANDS[name], others)
    except (MissingPackagesError, StepFailedError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"\nThe set-up may not write {error.filename}: run it as the owner of {ROOT}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The set-up will resume where it stopped.", file=sys.stderr)
        return 130


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
