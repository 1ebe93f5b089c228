"""The settings of one server process, each declared once.

A field of `Settings` is the whole declaration of a setting: name, type, default, what values are possible, and what
people are told of it. From it follow the option on the command line, the variable in the environment, the key in the
TOML file, --help and --print-config (`backplane.arguments`, `backplane.config`), and the table in docs/operations.md
(`backplane.settings_table`). To add a setting, add a field.

Nothing below reads the command line or the environment by itself: whoever needs a setting is given this value, so a
test builds the one it wants. Limits that an operator has no reason to turn stand beside the code they bound.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane import setting_kinds as kinds
from backplane.setting_kinds import declared, setting

_ROOT = Path(__file__).resolve().parent.parent


def default_workers() -> int:
    """Media workers when none are asked for: one per core that this process may use, but at most 16."""
    return min(16, len(os.sched_getaffinity(0)))


def default_connections() -> int:
    """Connections to Postgres when no number is given. It usually shares our cores: more than a few per core at work at
    once wait for each other and push each other out of the caches (benchmarks/LOG.md)."""
    return 4 + 2 * min(16, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True, repr=False)  # some hold secrets: `backplane.config` prints what may be printed
class Settings:
    """What the operator decided. None: not given; its option says what holds then."""

    host: str = setting(
        "127.0.0.1",
        kinds.TEXT,
        "address for pages and signalling to listen on; 0.0.0.0 = all of IPv4, :: = all of both families. Browsers "
        "give camera and microphone only to https:// pages and to localhost, so give a --certificate, or put a TLS "
        "proxy before any other address. Loopback is meant for pages and signalling only: media then listen on all "
        "interfaces",
        turn=True,
    )
    port: int = setting(
        8080, kinds.PORT, "TCP port for pages, signalling, TURN and ICE over TCP; 0 = any free one", "PORT", turn=True
    )
    certificate: Path | None = setting(
        None,
        kinds.PATH,
        "PEM file of the certificate and its chain: --port then speaks TLS, and plain HTTP is sent on to https://. "
        "It is read again when it changes",
        "FILE",
        turn=True,
    )
    certificate_key: Path | None = setting(
        None,
        kinds.PATH,
        "PEM file of the certificate's private key",
        "FILE",
        default_text="it is in the file of --certificate",
        turn=True,
    )
    self_signed: bool = setting(
        False,
        kinds.SWITCH,
        "for a try-out: speak TLS with a certificate of our own making, kept in --data, that browsers warn of",
        turn=True,
    )
    public_ip: tuple[str, ...] = setting(
        (),
        kinds.PUBLIC_ADDRESSES,
        "address at which browsers reach the media port, when it differs from the one we listen on (behind NAT, in "
        "a cloud); one of each family is possible, as 203.0.113.5,2001:db8::5",
        "IP",
        turn=True,
    )
    stun_server: str | None = setting(
        None,
        kinds.HOST_PORT,
        "STUN server that is asked once at start for the address under which the world sees this machine, when only"
        " private addresses are known and no --public-ip is given",
        "HOST:PORT",
        default_text="none is asked",
        turn=True,
    )
    media_port: int | None = setting(
        None,
        kinds.PORT,
        "UDP port for media, to be opened in the firewall; further workers take the numbers above it. It listens on"
        " all interfaces unless --host names one that is not loopback; 0 = any free one",
        "PORT",
        default_text="the number of --port",
        turn=True,
    )
    workers: int = setting(
        default_workers(),
        kinds.whole(1, 1024),
        "media worker threads",
        "N",
        default_text="one for each processor core, at most 16",
        turn=True,
    )
    max_rooms: int = setting(
        1000, kinds.whole(1, 10_000_000), "rooms that may be in use at the same time, without those of visits", "N"
    )
    rooms_per_address: int = setting(
        50,
        kinds.COUNT,
        "of these, rooms that may have been begun from one IPv4 address or IPv6 /64; 0 = any number. Four times as "
        "many may come from one IPv6 /48",
        "N",
    )
    people_per_address: int = setting(
        300, kinds.COUNT, "people from one address that may be in such rooms; 0 = any number", "N"
    )
    tokens_per_minute: int = setting(
        300, kinds.COUNT, "rooms and guests' tokens that one address may ask for; 0 = any number", "N"
    )
    room_idle_s: int = setting(
        180,
        kinds.whole(0, 86_400),
        "until such a room is ended in which nobody's media are connected; 0 = never",
        "SECONDS",
    )
    data: Path = setting(
        Path("data"),
        kinds.PATH,
        "directory for keys and whatever else must outlive a restart; made when missing",
        "DIR",
        default_text="./data",
        turn=True,
    )
    log_level: str = setting(
        "info",
        kinds.one_of("debug", "info", "warning", "error"),
        "least level of the log on the standard error output, one JSON object per line",
        turn=True,
    )
    web: Path = setting(
        _ROOT / "web", kinds.PATH, "directory of the pages", default_text="web/ of the checkout", command_line=False
    )
    base_url: str | None = setting(
        None,
        kinds.WEB_URL,
        "public address of the pages, for links in mails; the clinics' own pages are below its host name",
        "URL",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        kinds.NETWORKS,
        "addresses or networks, with commas between, of the proxies before us, whose X-Forwarded-For, -Proto and "
        "-Host are believed",
        "LIST",
        turn=True,
    )
    postgres_url: str | None = setting(
        None,
        kinds.url("postgres", "postgresql"),
        "database; with a password in it, rather set WADUD_POSTGRES_URL_FILE",
        "URL",
        default_text="one of our own in --data",
    )
    postgres_connections: int = setting(
        default_connections(),
        kinds.whole(2, 1000),
        "connections to the database that this process holds at most",
        default_text="4 and 2 for each processor core",
        command_line=False,
    )
    redis_url: str | None = setting(
        None,
        kinds.url("redis", "rediss", "unix"),
        "message bus; with a password in it, rather set WADUD_REDIS_URL_FILE",
        "URL",
    )
    smtp_url: str | None = setting(
        None,
        kinds.url("smtp", "smtps"),
        "server that takes our mails, as smtps://USER:PASSWORD@HOST:PORT",
        default_text="mails are files in mail/ of --data",
        command_line=False,
    )
    mail_from: str = setting("Wadud <no-reply@localhost>", kinds.TEXT, "sender of our mails", command_line=False)
    otlp_endpoint: str | None = setting(
        None, kinds.WEB_URL, "OpenTelemetry collector that traces are sent to", command_line=False
    )
    trace_ratio: float = setting(0.05, kinds.RATIO, "part of the requests that are traced, 0 to 1", command_line=False)
    demo: bool = setting(False, kinds.SWITCH, "fill an empty database with made-up clinics and doctors")
    relay: bool = setting(True, kinds.SWITCH, "relay media by TURN on the media port and on --port", relay=True)
    relay_secret: str | None = setting(
        None,
        kinds.RELAY_SECRET,
        "signs time-limited credentials, the same on all nodes that share them; at least 16 characters",
        default_text="one of our own in --data",
        relay=True,
        command_line=False,
    )
    relay_secret_previous: str | None = setting(
        None,
        kinds.RELAY_SECRET,
        "the last relay_secret, still good while it is rotated",
        relay=True,
        command_line=False,
    )
    relay_users: tuple[str, ...] = setting(
        (),
        kinds.USERS,
        "lasting credentials for clients that are not ours, name:password each, with commas or line ends between",
        relay=True,
        command_line=False,
    )
    relay_realm: str = setting(
        "wadud", kinds.REALM, "realm told to TURN clients; goes into long-term keys", "NAME", relay=True, turn=True
    )
    relay_ports: tuple[int, int] = setting(
        (49152, 65535),
        kinds.PORT_RANGE,
        "UDP ports that relayed addresses are taken from, to be opened in the firewall for peers other than our own"
        " media",
        "FIRST-LAST",
        relay=True,
        turn=True,
    )
    relay_peers: str = setting(
        "media",
        kinds.one_of("media", "public"),
        "whom clients may relay to: media = our own media and those of --relay-nodes; public = every public address"
        " too, but never a port at which services are abused. public is for clients that are not ours, and opens "
        "the internet to whoever has credentials",
        relay=True,
        turn=True,
    )
    relay_nodes: tuple[str, ...] = setting(
        (),
        kinds.NODES,
        "where other servers of ours receive media, with commas between, as 203.0.113.7:443-446,[2001:db8::5]:443, "
        "with the UDP port of each of their workers, 1024 in all: clients may relay to them",
        "LIST",
        relay=True,
        turn=True,
    )
    relay_allow: tuple[str, ...] = setting(
        (),
        kinds.NETWORKS,
        "networks, with commas between, that clients may relay to besides, private ones too; each opens them to "
        "whoever has credentials, but never a port at which services are abused. An address of this machine is "
        "opened only by an entry for it alone",
        "LIST",
        relay=True,
        turn=True,
    )
    relay_quota: int = setting(
        40, kinds.whole(0, 1_000_000), "allocations that one user may hold; 0 = any number", "N", relay=True, turn=True
    )
    relay_quota_address: int = setting(
        200,
        kinds.whole(0, 1_000_000),
        "allocations that one client address may hold; 0 = any number",
        "N",
        relay=True,
        turn=True,
    )
    relay_bandwidth_bps: int = setting(
        10_000_000,
        kinds.whole(0, 100_000_000_000),
        "bits per second that one allocation may relay each way; 0 = no cap",
        "BPS",
        relay=True,
        turn=True,
    )
    stun_alternate: str | None = setting(
        None,
        kinds.ADDRESS,
        "second address of this machine, with which clients can find out how their NAT behaves (RFC 5780)",
        "IP",
        relay=True,
        turn=True,
    )

    @property
    def first_media_port(self) -> int:
        """UDP port of the first media worker; 0 = any free one. Worker *n* takes ``media_port + n``."""
        return self.port if self.media_port is None else self.media_port

    @property
    def tls(self) -> bool:
        """Is TLS spoken on ``port``?"""
        return self.certificate is not None or self.self_signed

    @property
    def url(self) -> str:
        """Address of the pages when ``port`` is known."""
        return f"{'https' if self.tls else 'http'}://{bracketed(self.host)}:{self.port}"


SETTINGS: Final = declared(Settings)


def bracketed(host: str) -> str:
    """``host`` as it stands in a URL (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host
