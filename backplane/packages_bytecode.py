"""Makes the bytecode of the installed packages that a lock file names, on all cores: ``python FILE LOCK``.

A step of the set-up, run in the virtual environment. Standard library only.
"""

import compileall
import re
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

_PINNED = re.compile(r"^([\w.-]+)==", re.MULTILINE)


def normalized(name: str) -> str:
    """A distribution's name as it is compared (the packaging specifications, "Name normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(lock: Path, home: Path) -> set[Path]:
    """The folders and single modules right below ``home`` that the packages of the lock file brought."""
    names = {normalized(name) for name in _PINNED.findall(lock.read_text())}
    found = [each for each in distributions(path=[str(home)]) if normalized(each.metadata["Name"]) in names]
    modules = [file for each in found for file in each.files or () if file.suffix == ".py"]
    return {home / module.parts[0] for module in modules if module.parts[0] != ".."}


def main(lock: str) -> None:
    for place in sorted(brought(Path(lock), Path(sysconfig.get_path("purelib")))):
        # As in pip, a file that is no Python of this version stays without.
        if place.is_dir():
            compileall.compile_dir(place, quiet=2, workers=0)
        else:
            compileall.compile_file(place, quiet=2)


if __name__ == "__main__":
    main(sys.argv[1])
