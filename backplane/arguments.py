"""Command-line options of the server, in one place that needs nothing but the standard library.

`bin/serve`, `bin/migrate` and `bin/admin` read them before the set-up (so that --help and a mistyped option answer at
once, on a bare machine too); `server.main`, `backplane.migrate_command` and `booking.admin_command` read the same
parsers when they start.
"""

import argparse
import ipaddress
from pathlib import Path
from typing import Final

TURN_PORT: Final = 3478  # RFC 8656 section 18
_CONCERNING: Final = frozenset(
    {
        *("host", "port", "public_ip", "media_port", "workers", "data", "log_level", "config", "print_config"),
        *("certificate", "certificate_key", "self_signed", "trusted_proxies", "setup_only", "stun_server"),
        *("relay_realm", "relay_ports", "relay_peers", "relay_nodes", "relay_allow", "relay_quota"),
        *("relay_quota_address", "relay_bandwidth_bps", "stun_alternate"),
    }
)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port (0 to 65535)")
    return port


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return count


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(_address(item.strip()) for item in text.split(","))


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def serve_parser() -> argparse.ArgumentParser:
    """Parser of `bin/serve` and `python -m server.main`."""
    parser = argparse.ArgumentParser(
        prog="bin/serve",
        description="Serves Wadud: pages, signalling and media. The first run sets everything up by itself.",
        epilog="The last line printed is 'Wadud is ready: http://HOST:PORT'. Ctrl-C stops the server cleanly.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address for pages and signalling to listen on; 0.0.0.0 = all of IPv4, :: = all of both families "
        "(default: %(default)s). Browsers give camera and microphone only to https:// pages and to localhost, so give "
        "a --certificate, or put a TLS proxy before any other address. Loopback is meant for pages and signalling "
        "only: media then listen on all interfaces",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=8080,
        help="TCP port for pages, signalling, TURN and ICE over TCP; 0 = any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="PEM file of the certificate and its chain: --port then speaks TLS, and plain HTTP is sent on to "
        "https://. It is read again when it changes",
    )
    parser.add_argument(
        "--certificate-key",
        type=Path,
        metavar="FILE",
        help="PEM file of the certificate's private key (default: it is in the file of --certificate)",
    )
    parser.add_argument(
        "--self-signed",
        action="store_true",
        help="for a try-out: speak TLS with a certificate of our own making, kept in --data, that browsers warn of",
    )
    parser.add_argument(
        "--public-ip",
        type=_addresses,
        metavar="IP",
        help="address at which browsers reach the media port, when it differs from the one we listen on "
        "(behind NAT, in a cloud); one of each family is possible, as 203.0.113.5,2001:db8::5",
    )
    parser.add_argument(
        "--stun-server",
        metavar="HOST:PORT",
        help="STUN server that is asked once at start for the address under which the world sees this machine, when "
        "only private addresses are known and no --public-ip is given (default: none is asked)",
    )
    parser.add_argument(
        "--media-port",
        type=_port,
        metavar="PORT",
        help="UDP port for media, to be opened in the firewall; further workers take the numbers above it. "
        "It listens on all interfaces unless --host names one that is not loopback; "
        "0 = any free one (default: the number of --port)",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="media worker threads (default: one for each processor core, at most 16)",
    )
    parser.add_argument(
        "--max-rooms",
        type=_count,
        default=1000,
        metavar="N",
        help="rooms that may be in use at the same time, without those of visits (default: %(default)s)",
    )
    parser.add_argument(
        "--rooms-per-address",
        metavar="N",
        help="of these, rooms that may have been begun from one IPv4 address or IPv6 /64; 0 = any number (default: 50)",
    )
    parser.add_argument(
        "--people-per-address",
        metavar="N",
        help="people from one address that may be in such rooms; 0 = any number (default: 300)",
    )
    parser.add_argument(
        "--tokens-per-minute",
        metavar="N",
        help="rooms and guests' tokens that one address may ask for; 0 = any number (default: 300)",
    )
    parser.add_argument(
        "--room-idle-s",
        metavar="SECONDS",
        help="until such a room is ended in which nobody's media are connected; 0 = never (default: 180)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="directory for keys and whatever else must outlive a restart; made when missing (default: ./%(default)s)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="least level of the log on the standard error output, one JSON object per line (default: %(default)s)",
    )
    add_relay_options(parser)
    parser.add_argument("--base-url", metavar="URL", help="public address of the pages, for links in mails")
    parser.add_argument(
        "--trusted-proxies",
        metavar="LIST",
        help="addresses or networks, with commas between, of the proxies before us, whose X-Forwarded-For, -Proto and "
        "-Host are believed (default: none)",
    )
    parser.add_argument(
        "--postgres-url",
        metavar="URL",
        help="database; with a password in it, rather set WADUD_POSTGRES_URL_FILE (default: one of our own in --data)",
    )
    parser.add_argument(
        "--redis-url", metavar="URL", help="message bus; with a password in it, rather set WADUD_REDIS_URL_FILE"
    )
    parser.add_argument("--demo", action="store_true", help="fill an empty database with made-up clinics and doctors")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file of settings, named as these options with _ for -; WADUD_CONFIG names it too. "
        "WADUD_NAME in the environment goes before the file, an option before both",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings, where each comes from, and exit"
    )
    parser.add_argument("--setup-only", action="store_true", help="do the set-up and exit without serving")
    return parser


def add_relay_options(parser: argparse.ArgumentParser) -> None:
    """The options of the relay (TURN). Its secrets have none: the process list would show them."""
    group = parser.add_argument_group(
        "relay",
        "TURN for callers whose network lets no media through. WADUD_RELAY_SECRET_FILE names the file of the secret "
        "that signs time-limited credentials (default: one of our own in --data), WADUD_RELAY_SECRET_PREVIOUS_FILE "
        "that of the last one, still good while it is rotated, WADUD_RELAY_USERS_FILE that of lasting name:password "
        "lines.",
    )
    group.add_argument(
        "--relay",
        action=argparse.BooleanOptionalAction,
        help="relay media by TURN on the media port and on --port (default: yes)",
    )
    group.add_argument("--relay-realm", metavar="NAME", help="realm told to TURN clients (default: wadud)")
    group.add_argument(
        "--relay-ports",
        metavar="FIRST-LAST",
        help="UDP ports that relayed addresses are taken from, to be opened in the firewall for peers other than our "
        "own media (default: 49152-65535)",
    )
    group.add_argument(
        "--relay-peers",
        choices=("media", "public"),
        help="whom clients may relay to: media = our own media and those of --relay-nodes; public = every public "
        "address too, but never a port at which services are abused. public is for clients that are not ours, and "
        "opens the internet to whoever has credentials (default: media)",
    )
    group.add_argument(
        "--relay-nodes",
        metavar="LIST",
        help="where other servers of ours receive media, with commas between, as "
        "203.0.113.7:443-446,[2001:db8::5]:443: clients may relay to them (default: none)",
    )
    group.add_argument(
        "--relay-allow",
        metavar="LIST",
        help="networks, with commas between, that clients may relay to besides, private ones too; each opens them to "
        "whoever has credentials, but never a port at which services are abused (default: none)",
    )
    group.add_argument(
        "--relay-quota", metavar="N", help="allocations that one user may hold; 0 = any number (default: 40)"
    )
    group.add_argument(
        "--relay-quota-address",
        metavar="N",
        help="allocations that one client address may hold; 0 = any number (default: 200)",
    )
    group.add_argument(
        "--relay-bandwidth-bps",
        metavar="BPS",
        help="bits per second that one allocation may relay each way; 0 = no cap (default: 10000000)",
    )
    group.add_argument(
        "--stun-alternate",
        type=_address,
        metavar="IP",
        help="second address of this machine, with which clients can find out how their NAT behaves (RFC 5780)",
    )


def turn_parser() -> argparse.ArgumentParser:
    """Parser of `bin/turn` and `python -m server.relay_main`: the options of `bin/serve` that concern a relay."""
    parser = argparse.ArgumentParser(
        prog="bin/turn",
        description="Relays media for callers whose network lets none through: TURN (RFC 8656) and STUN over UDP, TCP "
        "and TLS. A relay by itself, as in a region of its own; bin/serve has one inside.",
        epilog="WADUD_RELAY_SECRET_FILE names the file of the secret that it shares with bin/serve, and "
        "WADUD_RELAY_USERS_FILE that of lasting name:password lines. It relays to nobody until it is told to whom: "
        "name your servers with --relay-nodes, or open the internet with --relay-peers public. The last line printed "
        "is 'Wadud's relay is ready: turn:HOST:PORT'. SIGTERM drains, Ctrl-C stops.",
    )
    for action in serve_parser()._actions:
        if action.dest in _CONCERNING:
            parser._add_action(action)
    parser.set_defaults(port=TURN_PORT)
    return parser


def migrate_parser() -> argparse.ArgumentParser:
    """Parser of `bin/migrate` and `python -m backplane.migrate_command`."""
    parser = argparse.ArgumentParser(
        prog="bin/migrate",
        description="Brings the schema of a database up to date. bin/serve does so by itself when it starts. "
        "Runners at the same time wait for each other.",
    )
    parser.add_argument(
        "--url", help="address of the database (default: WADUD_POSTGRES_URL, else the server's own in --data)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="data directory of bin/serve, which must not be running on its own database (default: ./%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be applied and change nothing")
    parser.add_argument(
        "--contract",
        action="store_true",
        help="also take away what only the last release needed; once none of its servers runs any more",
    )
    return parser


def admin_parser() -> argparse.ArgumentParser:
    """Parser of `bin/admin` and `python -m booking.admin_command`; ``command`` is found or platform."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--email", required=True, metavar="E", help="address of the admin; codes to sign in go there")
    common.add_argument("--person", default="", metavar="NAME", help="the admin's own name")
    common.add_argument(
        "--password",
        action="store_true",
        help="ask for a password of the admin, so that they can sign in before mails are sent; "
        "without it they sign in by a code that is mailed",
    )
    common.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data directory of bin/serve, which may be running (default: its setting, else ./data)",
    )
    common.add_argument("--postgres-url", metavar="URL", help="database, as for bin/serve")
    common.add_argument("--base-url", metavar="URL", help="public address of the pages, as for bin/serve")
    common.add_argument("--config", metavar="FILE", help="TOML file of settings, as for bin/serve")
    parser = argparse.ArgumentParser(
        prog="bin/admin",
        description="Makes a clinic with its first admin, or the first admin of the platform. "
        "Saying it again changes nothing. Settings that bin/serve finds in its environment are found here too.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    found = commands.add_parser("found", parents=[common], help="make a clinic and its first admin")
    found.add_argument("--slug", required=True, metavar="S", help="the clinic's label in addresses: a-z, 0-9 and -")
    found.add_argument("--name", required=True, help="the clinic's name, as people read it")
    found.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="host name of the clinic's own; may be repeated"
    )
    found.add_argument("--timezone", default="Asia/Karachi", metavar="Z", help="default: %(default)s")
    found.add_argument(
        "--region", default="PK", metavar="R", help="country, of phone numbers without code too (default: %(default)s)"
    )
    found.add_argument("--locale", default="en", metavar="L", help="language of the clinic (default: %(default)s)")
    commands.add_parser("platform", parents=[common], help="make the first admin of the platform, who makes clinics")
    return parser
