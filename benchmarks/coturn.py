"""Debian's coturn as a relay under measurement.

It runs as packaged, all settings on the command line: long-term credentials with one user, loopback peers allowed (all
of this happens on one machine), one relay thread beside its threads for listening and for credentials, no quota. TLS
listeners and the administration interface are off, for nothing of the load uses them.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.relay_server import CREDENTIALS, TurnServer


def version() -> str:
    """The package's version."""
    query = ["dpkg-query", "-W", "-f", "${Version}", "coturn"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def is_installed() -> bool:
    return shutil.which("turnserver") is not None


class CoturnRelay(TurnServer):
    """One coturn process."""

    name = "coturn"

    def command(self, directory: Path) -> Sequence[str]:
        program = shutil.which("turnserver")
        if program is None:
            raise RuntimeError("coturn is not installed; as root: apt-get install coturn")
        host, port = self.address
        where = ["--listening-ip", host, "--relay-ip", host, "--listening-port", str(port), "--relay-threads", "1"]
        whom = ["--lt-cred-mech", "--user", ":".join(CREDENTIALS), "--realm", "coturn", "--allow-loopback-peers"]
        off = ["--no-tls", "--no-dtls", "--no-cli", "--no-rfc5780"]
        files = ["--userdb", str(directory / "users.db"), "--pidfile", str(directory / "coturn.pid")]
        files += ["--log-file", str(directory / "coturn-sessions.log"), "--simple-log", "--no-stdout-log"]
        return [program, "-n", *where, *whom, *off, *files]
