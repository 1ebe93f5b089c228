"""Our own relay (turn/) as a relay under measurement: the product's command, its limits for strangers lifted.

All clients and peers of the load are on loopback addresses and share one user: so loopback peers are allowed and no
quota counts. Neither is there a cap on bandwidth, as there is none in coturn unless asked for.
"""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.relay_server import CREDENTIALS, TurnServer


class WadudRelay(TurnServer):
    """One process of `server.relay_main` with one worker."""

    name = "wadud"
    ready = "Wadud's relay is ready"

    def command(self, directory: Path) -> Sequence[str]:
        host, port = self.address
        data = directory / "wadud"
        data.mkdir(exist_ok=True)
        where = ["--host", host, "--port", str(port), "--workers", "1", "--data", str(data)]
        limits = ["--relay-quota", "0", "--relay-quota-address", "0", "--relay-bandwidth-bps", "0"]
        return [sys.executable, "-m", "server.relay_main", *where, "--relay-allow", "127.0.0.0/8", *limits]

    def environment(self, directory: Path) -> Mapping[str, str]:
        users = directory / "users"
        users.write_text(":".join(CREDENTIALS) + "\n")
        users.chmod(0o600)
        return {"WADUD_RELAY_USERS_FILE": str(users)}

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # SIGTERM waits for the last allocation
        super().stop()
