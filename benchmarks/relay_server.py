"""What relay.py asks of a relay under measurement, and what TURN servers share: one process on one core, one user."""

import secrets
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks import process
from benchmarks.native import ROOT
from benchmarks.relay_client import Address, RelayClient, Request

HOSTS = {"wadud": "127.77.0.1", "coturn": "127.77.0.2", "limit": "127.77.0.3"}  # none takes another's relay ports
CREDENTIALS = ("bench", "bench")  # the only user of every server
_PATIENCE_S = 20.0
_BINDING = b"\x00\x01\x00\x00\x21\x12\xa4\x42"  # a request without attributes, RFC 8489 section 5


class Relay(Protocol):
    """Something that relays, in a process of its own."""

    name: str
    address: Address
    paced: bool
    """Asked for its highest rate and for latency too."""

    def start(self, cpu: int, directory: Path) -> int:
        """On that core, with files in ``directory``; its process id, once it is ready. ConnectionError when it ends
        before."""

    def client(self, clients: int, *, gro: bool = False) -> RelayClient:
        """Clients of this relay, which they do not know yet; their sockets take runs of datagrams with ``gro``."""

    def admit(self, client: RelayClient) -> None:
        """Packets flow from now on."""

    def keep(self, client: RelayClient) -> None:
        """They still do after minutes."""

    def stop(self) -> None:
        """Idempotent."""


class TurnServer(ABC):
    """A relay that is a TURN server."""

    name = ""
    paced = True
    ready = ""
    """What it says when it is ready to serve; "" = it says nothing of the kind."""

    def __init__(self) -> None:
        self.address = (HOSTS[self.name], free_port(HOSTS[self.name]))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self, directory: Path) -> Sequence[str]:
        """The command that starts it at `address`. RuntimeError when there is none on this machine."""

    def environment(self, directory: Path) -> Mapping[str, str]:
        """What the command needs beside ours."""
        return {}

    def start(self, cpu: int, directory: Path) -> int:
        log = directory / f"{self.name}.log"
        command, environment = self.command(directory), self.environment(directory)
        self._process = process.start(command, cpu, log, ROOT, environment, quiet=True)
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until and self._process.poll() is None:
            if self.ready in log.read_text(errors="replace") and self._answers():
                return self._process.pid
            time.sleep(0.02)
        raise ConnectionError(f"{self.name} does not answer (exit status {self._process.poll()}): {_end_of(log)}")

    def client(self, clients: int, *, gro: bool = False, talking: bool = True) -> RelayClient:
        """Clients without allocations yet; not ``talking``: all have the same peer, and no packets flow."""
        return RelayClient(self.address, CREDENTIALS, clients, gro=gro, talking=talking)

    def admit(self, client: RelayClient) -> None:
        client.transact(Request.OPEN)

    def keep(self, client: RelayClient) -> None:
        client.transact(Request.RENEW)

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(self.address)
            probe.settimeout(0.1)
            try:
                probe.send(_BINDING + secrets.token_bytes(12))
                return bool(probe.recv(2048))
            except (TimeoutError, ConnectionRefusedError):
                return False


def free_port(host: str) -> int:
    """A UDP and TCP port that nobody has just now."""
    with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        stream.bind((host, 0))
        port = int(stream.getsockname()[1])
        datagrams.bind((host, port))
        return port


def _end_of(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:])
