"""bin/serve and bin/test before any dependency is there."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backplane import bootstrap
from backplane.arguments import SERVE
from backplane.package_index import uv_environment
from backplane.setup_steps import StepFailedError
from backplane.system_packages import MissingPackagesError


def test_it_imports_with_the_standard_library_alone(root: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(root)!r}); import backplane.bootstrap"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_serve_help_explains_every_option_without_a_set_up(root: Path, tmp_path: Path) -> None:
    for folder in ("backplane", "bin"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    answer = subprocess.run([tmp_path / "bin" / "serve", "--help"], capture_output=True, text=True, check=True)
    for option in ("--host", "--port", "--public-ip", "--media-port", "--data"):
        assert option in answer.stdout
    assert not (tmp_path / ".setup").exists()


def test_every_option_of_serve_has_a_help_text() -> None:
    assert all(action.help for action in SERVE.parser()._actions)


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "http"], ["--public-ip", "example.org"]])
def test_a_mistyped_option_is_refused_before_any_set_up(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "set_up", lambda *a, **k: pytest.fail("set-up began"))
    with pytest.raises(SystemExit) as caught:
        bootstrap.main(["serve", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (MissingPackagesError("sudo apt-get install gcc"), 1, "apt-get install"),
        (StepFailedError("end of the log"), 1, "end of the log"),
        (PermissionError(13, "denied", "stamps.json"), 1, "stamps.json"),
        (KeyboardInterrupt(), 130, "resume"),
    ],
)
def test_a_failed_set_up_says_why_and_ends_with_a_status(
    error: BaseException,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "set_up", fail)
    assert bootstrap.main(["serve"]) == status
    assert told in capsys.readouterr().err


def test_setup_only_ends_without_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "set_up", lambda *a, **k: None)
    assert bootstrap.main(["serve", "--setup-only"]) == 0


def test_every_extension_of_setup_py_is_an_output_of_the_build(root: Path) -> None:
    outputs = bootstrap.extensions(root).outputs
    assert {"rtc/_wire.*.so", "rtc/_dtls.*.so", "rtc/_worker.*.so"} <= set(outputs)


def test_bytecode_is_there_although_the_environment_forbids_python_to_write_it(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "sfu", tmp_path / "sfu", ignore=shutil.ignore_patterns("__pycache__"))
    step = bootstrap.bytecode(tmp_path)
    assert step.outputs == ("sfu/__pycache__/*.pyc",)
    [(argv, directory)] = step.commands()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, *argv[1:]], cwd=directory, env=environment, check=True)
    sources = {path.stem for path in (tmp_path / "sfu").glob("*.py")}
    assert sources
    assert {path.name.partition(".")[0] for path in tmp_path.glob(step.outputs[0])} == sources


def test_packages_that_the_server_imports_have_bytecode_at_once(root: Path) -> None:
    for development in (False, True):
        steps, _ = bootstrap.plan(root, development)
        commands = [argv for step in steps if step.name.startswith("requirements") for argv, _ in step.commands()]
        compiled = [argv[-1] for argv in commands if "--compile-bytecode" in argv]
        assert set(compiled) == {"requirements.lock"}, "of what only tests import, nobody imports most"
        assert all("--require-hashes" in argv for argv in commands)


def test_uv_looks_for_packages_where_pip_would() -> None:
    config = "\n".join(
        [
            ":env:.find-links='/wheels /more'",
            "global.index-url='https://mirror.example/simple'",
            "global.extra-index-url='file:///one\\nfile:///two'",
            "install.index-url='https://nearer.example/simple'",
            "global.cert='/etc/ssl/mirror.pem'",
            "freeze.timeout='3'",
        ]
    )
    found = uv_environment(config, {"UV_SYSTEM_CERTS": "false"})
    assert found["UV_DEFAULT_INDEX"] == "https://nearer.example/simple"
    assert found["UV_INDEX"] == "file:///one file:///two"
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    assert found["SSL_CERT_FILE"] == "/etc/ssl/mirror.pem"
    assert "UV_SYSTEM_CERTS" not in found, "what is set for uv itself goes first"
    assert "UV_HTTP_TIMEOUT" not in found
    assert "UV_DEFAULT_INDEX" not in uv_environment("", {})


def test_uv_does_without_a_cache_where_it_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "UV_NO_CACHE" not in uv_environment("", {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert uv_environment("", {})["UV_NO_CACHE"] == "true"


def test_the_plan_for_tests_holds_that_for_serving(root: Path) -> None:
    serving, serving_needs = bootstrap.plan(root, development=False)
    testing, testing_needs = bootstrap.plan(root, development=True)
    done = {name for step in testing for name in (step.name, *(covered.name for covered in step.covers))}
    assert {step.name for step in serving} <= done
    assert {need.name for need in serving_needs} <= {need.name for need in testing_needs}


@pytest.mark.parametrize(
    ("url", "binaries", "step"),
    [(None, None, True), (None, Path("bin"), False), ("postgresql://db/wadud", None, False), ("", None, True)],
)
def test_a_postgres_is_installed_only_where_there_is_none_and_none_is_named(
    url: str | None, binaries: Path | None, step: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WADUD_POSTGRES_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("WADUD_POSTGRES_URL", url)
    monkeypatch.setattr(bootstrap, "system_binaries", lambda: binaries)
    names = [each.name for each in bootstrap.plan(root, development=False)[0]]
    assert ("requirements-embedded.lock" in names) is step
    if step:
        assert names.index("requirements.lock") < names.index("requirements-embedded.lock")


def test_the_plan_for_tests_holds_that_for_serving_without_postgres(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WADUD_POSTGRES_URL", raising=False)
    monkeypatch.setattr(bootstrap, "system_binaries", lambda: None)
    test_the_plan_for_tests_holds_that_for_serving(root)


@pytest.mark.parametrize("development", [False, True], ids=["serving", "testing"])
def test_steps_stand_after_those_that_they_build_on_and_no_two_change_the_environment_at_once(
    development: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WADUD_POSTGRES_URL", raising=False)
    monkeypatch.setattr(bootstrap, "system_binaries", lambda: None)
    steps, _ = bootstrap.plan(root, development)
    before: dict[str, set[str]] = {}  # all that is done when the step begins
    for step in steps:
        later = {each.name for each in steps} - set(before)
        assert not later.intersection(step.after), step.name
        named = [name for name in step.after if name in before]
        before[step.name] = {*named, *(name for each in named for name in before[each])}
    fragile = [step.name for step in steps if step.fragile]
    for one, other in itertools.pairwise(fragile):
        assert one in before[other]
    assert [step.name for step in steps[:2]] == ["tools", "environment"]
    assert all({"tools", "environment"} <= before[step.name] for step in steps[2:])


def test_a_mistyped_option_of_migrate_is_refused_before_any_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "set_up", lambda *a, **k: pytest.fail("set-up began"))
    with pytest.raises(SystemExit) as caught:
        bootstrap.main(["migrate", "--dryrun"])
    assert caught.value.code == 2
    assert "--dryrun" in capsys.readouterr().err


def test_locks_hold_hashes_and_no_index(root: Path) -> None:
    for name in ("requirements-setup.lock", "requirements.lock", "requirements-embedded.lock", "requirements-dev.lock"):
        text = (root / name).read_text()
        pins = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text


def test_the_server_does_not_depend_on_what_only_tests_use(root: Path) -> None:
    names = {line.partition("==")[0] for line in (root / "requirements.lock").read_text().splitlines() if "==" in line}
    assert not names & {"aiortc", "aioice", "av", "pytest", "numpy", "playwright"}
