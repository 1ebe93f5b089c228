"""Runs the C test programs beside this file, case by case, under AddressSanitizer and UndefinedBehaviorSanitizer.

A program is for what Python cannot drive: several of our own files together, without the worker around them.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.run import NATIVE, ROUTER, STREAM, build_programs

HERE = Path(__file__).parent
PROGRAMS = {"stream_test": STREAM, "congestion_test": ROUTER}
"""Name -> the sources that `<name>.c` is linked with."""
CASES = [
    (program, case)
    for program in PROGRAMS
    for case in re.findall(r"\bCASE\((\w+)\)", (HERE / f"{program}.c").read_text())
]

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def executables() -> dict[str, Path]:
    assert shutil.which("clang"), "the test programs need Debian's package clang"
    return build_programs(
        {name: [HERE / f"{name}.c", *(NATIVE / file for file in files)] for name, files in PROGRAMS.items()}
    )


@pytest.mark.parametrize(("program", "case"), CASES)
def test_case(program: str, case: str, executables: dict[str, Path]) -> None:
    done = subprocess.run([executables[program], case], capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
