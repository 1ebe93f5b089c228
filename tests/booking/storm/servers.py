"""Real server processes for storms: as `bin/serve` runs them, one or several on one Postgres and one Redis.

A process is started through ``python -P -m server.main`` on a port of its own choice and writes into a file, so it
can be started and killed from anywhere, in a fixture or in the middle of a test. Settings reach it by
its environment, those of the test run do not.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support import clock
from tests.support.server import free_port

ROOT = Path(__file__).resolve().parents[3]
START_S = 60.0
STOP_S = 20.0


def eventually(what: str, holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Returns when ``holds`` does; fails with ``what`` after ``seconds``."""
    give_up = clock.now() + seconds
    while not holds():
        assert clock.now() < give_up, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


class Server:
    """One server process, which may be ended and started again on the same port and data."""

    def __init__(self, data: Path, seeds: Sequence[tuple[str, bytes]] = (), **settings: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.with_suffix(".log")
        self._settings = {f"WADUD_{name.upper()}": value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in seeds:  # keys that all servers of one installation share
            (data / name).touch(0o600)
            (data / name).write_bytes(content)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def cpu_s(self) -> float:
        """Processor time that it has had."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def start(self) -> float:
        """Waits until it serves; the seconds it took."""
        begun = clock.now()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WADUD_")}
        mark = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "server.main", "--port", str(self.port), "--media-port", "0"),
                    *("--workers", "1", "--data", str(self.data)),
                ],
                cwd=self.data.parent,
                env={**environment, **self._settings, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = self._process

        def ready() -> bool:
            assert process.poll() is None, f"the server did not start:\n{self.told()[-4000:]}"
            return "Wadud is ready" in self.told(mark)

        try:
            eventually("the server is ready", ready, START_S)
        except BaseException:
            self.kill()
            raise
        return clock.now() - begun

    def told(self, since: int = 0) -> str:
        """What it has printed and logged."""
        return self.log.read_bytes()[since:].decode(errors="replace")

    def kill(self) -> None:
        """As the out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S)
        finally:
            self.kill()


def processes_of(directory: Path) -> list[str]:
    """Command lines of the processes that have to do with ``directory``: servers, supervisors, their Postgres."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(directory) in command or place.startswith(str(directory)):
            found.append(f"{entry.name} {command[:120]}")
    return found
