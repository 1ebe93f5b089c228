"""Settings of one server process: a frozen value that `backplane.config` fills.

Nothing below reads the command line or the environment by itself: whoever needs a setting is given this value, so a
test builds the one it wants. Limits that an operator has no reason to turn stand beside the code they bound.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def default_workers() -> int:
    """Media workers when none are asked for: one per core that this process may use, but at most 16."""
    return min(16, len(os.sched_getaffinity(0)))


def default_connections() -> int:
    """Connections to Postgres when no number is given. It usually shares our cores: more than a few per core at work at
    once wait for each other and push each other out of the caches (benchmarks/LOG.md)."""
    return 4 + 2 * min(16, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided.

    ``port`` and ``media_port``: 0 = any free one; ``media_port`` None = the number of ``port``. Worker *n* takes
    ``media_port + n``. ``max_rooms``: at once, without those of visits, which the next four do not bound either:
    ``rooms_per_address`` and ``people_per_address`` at once, ``tokens_per_minute`` of one address, ``room_idle_s``
    until a room in which nobody is connected is let go; 0 = no bound. ``data`` holds what must outlive a restart.
    ``postgres_url``, ``redis_url``: None = one of our own, or none. ``postgres_connections``: the most of this process.
    ``smtp_url``: ``smtp[s]://USER:PASSWORD@HOST:PORT``. ``base_url``: of links in mails; its host is the one under
    which clinics have theirs. ``trusted_proxies``: see `backplane.proxies`. ``trace_ratio``: part of the requests that
    are traced when there is an ``otlp_endpoint``. ``demo``: fill an empty database with made-up clinics.

    ``public_ip``: at most one per family. ``certificate``: PEM chain; ``certificate_key`` None = the key is in the same
    file. ``relay_secret``: None = one of our own, kept in ``data``; ``relay_secret_previous`` is still good.
    ``relay_ports``: first and last. ``relay_peers``: whom clients may relay to, ``media`` (ours and that of
    ``relay_nodes``) or ``public``. ``relay_nodes``: where other nodes receive media, each ``host:port`` or
    ``host:first-last``. ``relay_allow``: networks opened besides. ``relay_users``: long-term credentials,
    ``name:password`` each. ``relay_quota`` allocations for each user, ``relay_quota_address`` for each client address,
    ``relay_bandwidth_bps`` for each allocation, 0 = no cap. ``stun_alternate``: second address of this
    machine (RFC 5780). ``stun_server``: ``host:port``, asked for our public address.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    public_ip: tuple[str, ...] = ()
    media_port: int | None = None
    data: Path = Path("data")
    workers: int = field(default_factory=default_workers)
    max_rooms: int = 1000
    rooms_per_address: int = 50
    people_per_address: int = 300
    tokens_per_minute: int = 300
    room_idle_s: int = 180
    log_level: str = "info"
    web: Path = _ROOT / "web"
    postgres_url: str | None = None
    postgres_connections: int = field(default_factory=default_connections)
    redis_url: str | None = None
    smtp_url: str | None = None
    mail_from: str = "Wadud <no-reply@localhost>"
    base_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    otlp_endpoint: str | None = None
    trace_ratio: float = 0.05
    demo: bool = False
    certificate: Path | None = None
    certificate_key: Path | None = None
    self_signed: bool = False
    relay: bool = True
    relay_secret: str | None = field(default=None, repr=False)
    relay_secret_previous: str | None = field(default=None, repr=False)
    relay_realm: str = "wadud"
    relay_ports: tuple[int, int] = (49152, 65535)
    relay_peers: str = "media"
    relay_nodes: tuple[str, ...] = ()
    relay_allow: tuple[str, ...] = ()
    relay_users: tuple[str, ...] = field(default=(), repr=False)
    relay_quota: int = 40
    relay_quota_address: int = 200
    relay_bandwidth_bps: int = 10_000_000
    stun_alternate: str | None = None
    stun_server: str | None = None

    @property
    def first_media_port(self) -> int:
        """UDP port of the first media worker; 0 = any free one."""
        return self.port if self.media_port is None else self.media_port

    @property
    def tls(self) -> bool:
        """Is TLS spoken on ``port``?"""
        return self.certificate is not None or self.self_signed

    @property
    def url(self) -> str:
        """Address of the pages when ``port`` is known."""
        return f"{'https' if self.tls else 'http'}://{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """``host`` as it stands in a URL (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host
