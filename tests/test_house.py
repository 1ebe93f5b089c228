"""The rules of the house that no linter knows, held against every committed file."""

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

# package -> the packages of ours that it may import besides itself (docs/decisions/0001-house.md)
MAY_IMPORT: dict[str, set[str]] = {
    "backplane": set(),
    "rtc": {"backplane"},
    "sfu": {"rtc", "backplane"},
    "turn": {"rtc", "backplane"},
    "signalling": {"sfu", "rtc", "backplane"},
    "live": {"backplane"},
    "chat": {"live", "backplane"},
    "booking": {"live", "backplane"},
    "server": {"signalling", "sfu", "turn", "rtc", "backplane", "booking", "chat", "live"},  # puts all together
}
OURS = {*MAY_IMPORT, "benchmarks", "tests"}

SOURCE_SUFFIXES = {".py", ".pyi", ".c", ".h", ".sh", ".js", ".mjs", ".ts", ".css", ".html"}
LONGEST_FILE_LINES = 500

# The patterns are put together from pieces so that this file does not hold what it forbids.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:" + "|".join(["wo" + "rk", "ho" + "me", "Us" + "ers", "ro" + "ot"]) + r")/\w")
INDEX_HOST = re.compile(
    r"\b(?:[\w-]+\.)*(?:"
    + "|".join(["py" + "pi", "python" + "hosted", "npm" + "js", "artifact" + "ory"])
    + r")\.\w{2,}",
    re.IGNORECASE,
)
UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b")

PINNED = re.compile(r"^([\w.-]+)==(.+?) \\$", re.MULTILINE)


@pytest.fixture(scope="module")
def committed(root: Path) -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [root / name for name in listing.split("\0") if name and (root / name).is_file()]


def texts(files: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in files:
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def imported_packages(source: str) -> set[str]:
    """First names of all modules that the source imports, at any depth of the code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def test_imports_go_down_only(root: Path, committed: list[Path]) -> None:
    upward = [
        f"{path.relative_to(root)} imports {name}"
        for path in committed
        if path.suffix in (".py", ".pyi") and (package := path.relative_to(root).parts[0]) in MAY_IMPORT
        for name in sorted(imported_packages(path.read_text()) & OURS - MAY_IMPORT[package] - {package})
    ]
    assert upward == []


# Answers with headers of their own (a challenge, a cookie, the end of a connection) are made where HTTP is spoken.
SPEAKS_HTTP = {"documents.py", "identity/access.py", "identity/auth_routes.py", "links/exchange.py"}


def test_booking_refuses_in_its_own_words(root: Path, committed: list[Path]) -> None:
    booking = root / "booking"
    naming = {
        str(path.relative_to(booking))
        for path in committed
        if path.is_relative_to(booking) and path.suffix == ".py" and re.search(r"\bProblem\b", path.read_text())
    }
    assert naming == SPEAKS_HTTP
    assert "status" not in (root / "backplane" / "postgres.py").read_text()


def normalized(name: str) -> str:
    """A distribution's name as it is compared (the packaging specifications, "Name normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(path: Path) -> set[str]:
    """Names in a requirements file, and in those that it includes, as package indexes normalize them."""
    names: set[str] = set()
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            names |= required(path.parent / line.removeprefix("-r ").strip())
        elif line and not line.startswith("#"):
            names.add(normalized(line.strip()))
    return names


@pytest.mark.parametrize("smaller", ["requirements.lock", "requirements-embedded.lock"])
def test_the_lock_of_the_tests_holds_what_the_others_hold(smaller: str, root: Path) -> None:
    pinned = set(PINNED.findall((root / smaller).read_text()))
    assert len(pinned) > 10
    assert pinned <= set(PINNED.findall((root / "requirements-dev.lock").read_text()))


@pytest.mark.parametrize(
    ("requirements", "folders"),
    [("requirements.in", set(MAY_IMPORT)), ("requirements-dev.in", {"tests", "benchmarks"})],
)
def test_every_import_of_a_strange_package_is_required_by_name(
    requirements: str, folders: set[str], root: Path, committed: list[Path]
) -> None:
    allowed = required(root / requirements)
    distributions = packages_distributions()
    undeclared = [
        f"{path.relative_to(root)} imports {name}"
        for path in committed
        if path.suffix == ".py" and path.relative_to(root).parts[0] in folders
        for name in sorted(imported_packages(path.read_text()))
        if name in distributions and not allowed & {normalized(each) for each in distributions[name]}
    ]
    assert undeclared == []


def test_no_source_file_is_longer_than_a_reader_holds(root: Path, committed: list[Path]) -> None:
    long = [
        f"{path.relative_to(root)}: {lines} lines"
        for path, text in texts([path for path in committed if path.suffix in SOURCE_SUFFIXES])
        if (lines := text.count("\n")) > LONGEST_FILE_LINES
    ]
    assert long == []


def test_every_python_module_opens_with_its_theory(root: Path, committed: list[Path]) -> None:
    silent = [
        str(path.relative_to(root))
        for path, text in texts([path for path in committed if path.suffix == ".py"])
        if text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [("the path of a machine", MACHINE_PATH), ("the host of a package index", INDEX_HOST), ("a loose end", UNFINISHED)],
)
def test_no_committed_file_holds(what: str, pattern: re.Pattern[str], root: Path, committed: list[Path]) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {match[0]} is {what}"
        for path, text in texts(committed)
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert found == []


def test_every_command_is_executable(root: Path, committed: list[Path]) -> None:
    commands = [path for path in committed if path.parent in (root / "bin", root / ".ci")]
    assert commands
    assert [path.name for path in commands if not path.stat().st_mode & 0o111] == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATH, "data in /ho" + "me/somebody"),
        (INDEX_HOST, "https://registry.npm" + "js.org/left-pad"),
        (INDEX_HOST, "https://files.python" + "hosted.org/x"),
        (UNFINISHED, "# TO" + "DO: later"),
    ],
)
def test_the_forbidden_patterns_find_what_they_are_for(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


def test_the_papers_for_newcomers_name_what_is_there(root: Path) -> None:
    page = root / "docs" / "where-things-go.md"
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert len(links) > 20
    assert [link for link in links if not (page.parent / link).exists()] == []
