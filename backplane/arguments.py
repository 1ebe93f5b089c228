"""The commands in bin/ and their options: those that stand for settings, made from their declaration, and a few more.

`backplane.bootstrap` reads them before the set-up, so that --help and a mistyped option answer at once on a bare
machine too; `server.main`, `server.relay_main`, `backplane.migrate_command` and `booking.admin_command` read the same
when they start. Standard library only.
"""

import argparse
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from backplane.setting_kinds import Setting
from backplane.settings import SETTINGS

TURN_PORT: Final = 3478  # RFC 8656 section 18
_TURN_DEFAULTS: Final[Mapping[str, object]] = {"port": TURN_PORT}


@dataclass(frozen=True, slots=True)
class Command:
    """A command in bin/. ``defaults``: of settings for which it has another default than the server."""

    parser: Callable[[], argparse.ArgumentParser]
    defaults: Mapping[str, object] = field(default_factory=dict)


def _add_settings(
    parser: argparse.ArgumentParser, names: Collection[str], defaults: Mapping[str, object] | None = None
) -> None:
    """The options of settings, and --config. The flag is the key under which a value is found in the namespace, and is
    absent when the option was not given."""
    relay = parser.add_argument_group("relay", _RELAY_HELP) if any(SETTINGS[name].relay for name in names) else parser
    for name in names:
        setting = SETTINGS[name]
        _add_setting(relay if setting.relay else parser, setting, (defaults or {}).get(name))
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file of settings, named as these options with _ for -; WADUD_CONFIG names it too. "
        "WADUD_NAME in the environment goes before the file, an option before both",
    )


def _add_setting(parser: argparse._ActionsContainer, setting: Setting, default: object) -> None:
    text = f"{setting.help} (default: {setting.default_in_words(default)})".replace("%", "%%")
    flag, absent = setting.flag, argparse.SUPPRESS
    if isinstance(setting.default, bool):
        action = argparse.BooleanOptionalAction if setting.default else "store_true"
        parser.add_argument(flag, dest=flag, default=absent, action=action, help=text)
    else:
        choices = setting.kind.choices or None
        metavar = setting.metavar or (None if choices else setting.name.upper())
        parser.add_argument(flag, dest=flag, default=absent, choices=choices, metavar=metavar, help=text)


_RELAY_HELP: Final = (
    "TURN for callers whose network lets no media through. WADUD_RELAY_SECRET_FILE names the file of the secret that "
    "signs time-limited credentials, WADUD_RELAY_SECRET_PREVIOUS_FILE that of the last one, still good while it is "
    "rotated, WADUD_RELAY_USERS_FILE that of lasting name:password lines."
)


def _add_actions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings, where each comes from, and exit"
    )
    parser.add_argument("--setup-only", action="store_true", help="do the set-up and exit without serving")


def serve_parser() -> argparse.ArgumentParser:
    """Parser of `bin/serve` and `python -m server.main`."""
    hidden = [name for name, setting in SETTINGS.items() if not setting.command_line]
    parser = argparse.ArgumentParser(
        prog="bin/serve",
        description="Serves Wadud: pages, signalling and media. The first run sets everything up by itself.",
        epilog="Settings without an option, for the environment or the file: "
        f"{', '.join(hidden)}; docs/operations.md explains them. "
        "The last line printed is 'Wadud is ready: http://HOST:PORT'. Ctrl-C stops the server cleanly.",
    )
    _add_settings(parser, [name for name in SETTINGS if name not in hidden])
    _add_actions(parser)
    return parser


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
    _add_settings(parser, [name for name, setting in SETTINGS.items() if setting.turn], _TURN_DEFAULTS)
    _add_actions(parser)
    return parser


def migrate_parser() -> argparse.ArgumentParser:
    """Parser of `bin/migrate` and `python -m backplane.migrate_command`."""
    parser = argparse.ArgumentParser(
        prog="bin/migrate",
        description="Brings the schema of a database up to date. bin/serve does so by itself when it starts. "
        "Runners at the same time wait for each other. Where no database is named, it is the server's own in --data, "
        "and bin/serve must not be running.",
    )
    parser.add_argument("--url", help="address of the database (default: that of --postgres-url)")
    _add_settings(parser, ("data", "postgres_url"))
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
    _add_settings(common, ("data", "postgres_url", "base_url"))
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


SERVE: Final = Command(serve_parser)
TURN: Final = Command(turn_parser, _TURN_DEFAULTS)
MIGRATE: Final = Command(migrate_parser)
ADMIN: Final = Command(admin_parser)
