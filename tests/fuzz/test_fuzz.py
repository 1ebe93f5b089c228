"""Bounded run of every libFuzzer target; the long run is `python tests/fuzz/run.py --minutes N`."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import SEED
from tests.fuzz.run import HERE, TARGETS, build, run

SECONDS = 1

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def executables() -> dict[str, Path]:
    assert shutil.which("clang"), "the fuzz targets need Debian's package clang"
    return build(list(TARGETS))


def test_every_target_is_in_the_table() -> None:
    assert {path.name for path in HERE.glob("*_fuzz.c")} == {f"{name}_fuzz.c" for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_target_finds_nothing(name: str, executables: dict[str, Path]) -> None:
    said = run(name, executables[name], SECONDS, SEED)
    assert said is None, said
