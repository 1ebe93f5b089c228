"""The servers that port.py measures: the product with a certificate of its own making, and coturn with the same one."""

import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks import process
from benchmarks.coturn import CoturnRelay
from benchmarks.native import ROOT
from turn.stun import Address

_READY = b"Wadud is ready: "


class PortServer:
    """`python -m server.main` on one core, everything on one port, relaying to loopback peers too."""

    def __init__(self, cpu: int, directory: Path) -> None:
        """ConnectionError when it does not start."""
        self._data = directory / "data"
        command = [sys.executable, "-m", "server.main", "--self-signed", "--port", "0", "--media-port", "0"]
        command += ["--workers", "1", "--log-level", "warning", "--data", str(self._data)]
        command += ["--relay-allow", "127.0.0.0/8", "--max-rooms", "5000"]
        command += process.UNBOUNDED
        log = directory / "server.log"
        self._process = process.start(command, cpu, log, ROOT)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_READY):
                host, _, port = line.split()[-1].decode().rpartition("/")[2].rpartition(":")
                self.address: Address = (host, int(port))
                return
        raise ConnectionError(f"the server did not start: {log.read_text()}")

    def trust(self) -> ssl.SSLContext:
        """For clients that know its certificate."""
        return ssl.create_default_context(cafile=str(self._data / "tls" / "certificate.pem"))

    def certificate(self) -> tuple[Path, Path]:
        return self._data / "tls" / "certificate.pem", self._data / "tls" / "key.pem"

    def stop(self) -> None:
        process.stop(self._process)


class CoturnTls(CoturnRelay):
    """coturn as relay.py has it, with TLS."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        super().__init__()
        self._files = certificate

    def command(self, directory: Path) -> Sequence[str]:
        words = [word for word in super().command(directory) if word != "--no-tls"]
        certificate, key = map(str, self._files)
        return [*words, "--cert", certificate, "--pkey", key, "--tls-listening-port", str(self.address[1])]

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        return self._process


def thread_cpu_s(pid: int) -> Mapping[str, float]:
    """User and system time by name of the thread; the first is called ``python``."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            name = "python" if task.name == str(pid) else (task / "comm").read_text().strip()
            spent = int((task / "schedstat").read_text().split()[0]) / 1e9
            found[name] = found.get(name, 0.0) + spent
    return found
