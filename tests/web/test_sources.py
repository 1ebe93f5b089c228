"""What can be said about web/ without a browser: types, the library in fake time, texts, the build, the lock file."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"
TESTS = Path(__file__).resolve().parent
IMPORT = re.compile(r"""(?:^|;|\})\s*(?:import|export)\b[^'"();]*?["'](\.[^"']+)["']""", re.MULTILINE)
HOLE = re.compile(r"\{\w+\}")


def run(*command: str, cwd: Path = WEB) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def locale(tag: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads((WEB / "locales" / f"{tag}.json").read_text())
    return texts


def modules_from(entry: Path) -> set[Path]:
    """The module and everything that it imports, directly or not."""
    found: set[Path] = set()
    waiting = [entry.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += [(path.parent / name).resolve() for name in IMPORT.findall(path.read_text())]
    return found


def test_types_hold_and_the_public_declarations_fit_the_code() -> None:
    run("npm", "run", "check")


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("*.test.js")))
def test_library_and_geometry_in_fake_time(file: str) -> None:
    run("node", "--test", str(TESTS / file))


def test_the_library_needs_no_page() -> None:
    library = WEB / "src/client"
    modules = modules_from(library / "index.js")
    assert [path for path in modules if not path.is_relative_to(library)] == []
    assert [path for path in modules if re.search(r"\b(document|window)\.", path.read_text())] == []


@pytest.mark.parametrize("tag", sorted(path.stem for path in (WEB / "locales").glob("*.json")))
def test_every_language_has_every_text_with_its_holes(tag: str) -> None:
    english, other = locale("en"), locale(tag)
    assert set(other) == set(english)
    assert {key: sorted(HOLE.findall(text)) for key, text in other.items()} == {
        key: sorted(HOLE.findall(text)) for key, text in english.items()
    }


@pytest.mark.parametrize("tag", ["en", "ur"])
def test_the_name_of_a_control_holds_its_visible_text(tag: str) -> None:
    """WCAG 2.5.3: who speaks to the browser says what stands on the button."""
    texts = locale(tag)
    short = {key.removesuffix("_short"): text for key, text in texts.items() if key.endswith("_short")}
    assert len(short) > 6
    names = {key: texts.get(key, texts.get(f"{key}_other", "")) for key in short}
    assert [key for key in short if short[key].casefold() not in names[key].casefold()] == []


def test_every_text_that_the_code_names_exists() -> None:
    english = locale("en")
    sources = [path.read_text() for path in (WEB / "src/app").rglob("*.js")]
    named = {key for source in sources for key in re.findall(r"""\bt\((?:[^'()]*\? )?'([a-z]+\.[a-z_]+)'""", source)}
    assert len(named) > 60
    assert [key for key in sorted(named) if key not in english and f"{key}_other" not in english] == []


def test_a_field_that_is_read_while_it_is_typed_in_can_be_emptied() -> None:
    """lit compares with what it drew last: without `live` a field that was typed into is not emptied with its text."""
    fields = re.compile(r"<(?:input|textarea)\b(?:[^<>]|=>|<\w)*?@(?:input|change)=", re.DOTALL)
    bound = [
        (path.name, tag)
        for path in (WEB / "src/app").rglob("*.js")
        for tag in fields.findall(path.read_text())
        if tag.endswith("@input=") and ".value=" in tag
    ]
    assert len(bound) > 6
    assert [each for each in bound if ".value=${live(" not in each[1]] == []


def built() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((WEB / "dist/manifest.json").read_text())
    return manifest


def texts_of(page: dict[str, Any], tag: str) -> dict[str, str]:
    module = (WEB / "dist" / page["languages"][tag]["texts"]).read_text()
    texts: dict[str, str] = json.loads(module.removeprefix("export default ").removesuffix(";\n"))
    return texts


def test_the_pages_together_use_every_text_and_none_carries_those_of_another() -> None:
    pages = built()["pages"]
    used = {name: set(texts_of(page, "en")) for name, page in pages.items()}
    descriptions = {"search.page_description", "page.noscript"}  # of the document itself
    assert sorted(set(locale("en")) - set().union(*used.values()) - descriptions) == []
    assert {key.partition(".")[0] for key in used["book"]} & {"lobby", "board", "account", "home"} == set()
    assert {key.partition(".")[0] for key in used["call"]} & {"search", "board", "account", "home"} == set()
    for page in pages.values():
        assert set(texts_of(page, "ur")) == set(texts_of(page, "en"))


@pytest.mark.parametrize("page", json.loads((WEB / "pages.json").read_text()))
def test_a_page_is_few_files_and_few_bytes(page: str) -> None:
    """Each file costs a round trip once six are under way, each kilobyte 20 ms of a slow link."""
    files = built()["pages"][page]
    paths = [files["script"], files["style"], *files["imports"], files["languages"]["ur"]["texts"]]
    assert len(paths) <= 8
    assert sum((WEB / "dist" / f"{path}.br").stat().st_size for path in paths) < 100_000


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (WEB / "package-lock.json").read_text()


LEAVES = re.compile(
    r"\blocation\s*\.\s*(?:assign|replace)\b|\blocation(?:\s*\.\s*\w+)?\s*=(?!=)|\bwindow\s*\.\s*open\b"
    r"|\.\s*(?:href|action|formAction)\s*=(?!=)|\bnavigation\s*\.\s*navigate\b|setAttribute\(\s*'(?:href|action)'"
)
LEADS = re.compile(r"""\b(?:href|action|formaction|xlink:href)=(?:"[^"]*)?\$\{(.{0,60})""")
OWN = re.compile(
    r"`/(?!/)[a-z]|ownAddress\(|signInPage\(|who\(\)\?\.factorDue \? '/account\?next=/visits' : '/visits'\}"
)
# What leads elsewhere by design, or was made by `ownAddress` before: an authenticator app, the page that one came from.
KNOWN = {"uri", "page.next", "page.visit.back", "page.visit?.back ?? '/visits'"}


def test_navigation_goes_through_the_one_function() -> None:
    found = []
    for path in sorted((WEB / "src").rglob("*.js")):
        name = str(path.relative_to(WEB))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = re.sub(r"(?:^|\s)//.*|^\s*\*.*", "", line)
            leads = [expression for expression in LEADS.findall(code) if not OWN.match(expression)]
            leads = [expression for expression in leads if expression.partition("}")[0] not in KNOWN]
            if name != "src/app/navigation.js" and (leads or LEAVES.search(code)):
                found.append(f"{name}:{number} {line.strip()}")
    assert found == []
