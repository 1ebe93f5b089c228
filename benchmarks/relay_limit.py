"""The physical limit of a relay (native/relay_limit.c) for Python: a bare C loop where the server would be."""

import ipaddress
import subprocess
from pathlib import Path

from benchmarks import process
from benchmarks.native import relay_limit_program
from benchmarks.relay_client import RelayClient
from benchmarks.relay_server import HOSTS

_HOST = HOSTS["limit"]


class BareRelay:
    """It speaks no TURN: it is told who its clients and their peers are. ``nap_us``: it sleeps so long whenever it has
    nothing to do, which suits loads that leave it idle, and makes packets late."""

    def __init__(self, clients: int, nap_us: int = 0) -> None:
        self.name = "limit+nap" if nap_us else "limit"
        self.paced = not nap_us
        self.address = (_HOST, 0)
        self._clients, self._nap_us = clients, nap_us
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cpu: int, directory: Path) -> int:
        """Its process id; `address` is known then."""
        command = [str(relay_limit_program()), "--clients", str(self._clients), "--host", _HOST]
        command += ["--nap", str(self._nap_us)]
        self._process = process.start(command, cpu, directory / "limit.errors")
        self.address = (_HOST, self._number("port"))
        return self._process.pid

    def client(self, clients: int, *, gro: bool = False) -> RelayClient:
        return RelayClient(self.address, clients=clients, gro=gro)

    def admit(self, client: RelayClient) -> None:
        """Tells the loop of the clients, and the clients of their relayed addresses. Once."""
        assert self._process is not None
        assert self._process.stdin is not None
        for number in range(client.clients):
            (own_host, own_port), (peer_host, peer_port), _ = client.addresses(number)
            own, peer = (int(ipaddress.IPv4Address(host)) for host in (own_host, peer_host))
            self._process.stdin.write(f"{own} {own_port} {peer} {peer_port}\n".encode())
        self._process.stdin.flush()
        client.assume([(_HOST, self._number("relayed")) for _ in range(client.clients)])

    def keep(self, client: RelayClient) -> None:
        """Nothing ever expires here."""

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process)

    def _number(self, word: str) -> int:
        """The next line of the loop, which says ``word`` and a number."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode().split()
        if line[:1] != [word]:
            raise ConnectionError("the bare loop has ended; see limit.errors")
        return int(line[1])
