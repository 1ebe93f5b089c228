"""Our own relay (turn/) as a relay under measurement: the product's command, its limits for strangers lifted.

All clients and peers of the load are on loopback addresses and share one user: so loopback peers are allowed and no
quota counts. Nothing else differs from what an operator starts.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.relay_server import CREDENTIALS, TurnServer


class WadudRelay(TurnServer):
    """One process of `turn.main` with one worker."""

    name = "wadud"
    ready = "Wadud's relay is ready"

    def command(self, directory: Path) -> Sequence[str]:
        host, port = self.address
        data = directory / "wadud"
        data.mkdir(exist_ok=True)
        where = ["--host", host, "--port", str(port), "--workers", "1", "--data", str(data)]
        whom = ["--relay-user", ":".join(CREDENTIALS), "--relay-allow", "127.0.0.0/8"]
        limits = ["--relay-quota", "0", "--relay-quota-address", "0"]
        return [sys.executable, "-m", "turn.main", *where, *whom, *limits]
