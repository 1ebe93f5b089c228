"""What the value of a setting may be: how it is read, from text or TOML, and how it is printed.

`backplane.settings` declares each setting with a `Kind` and the words that explain it. A reader raises ValueError with
what is needed, and never quotes the value, which may be a password. Standard library only.
"""

import dataclasses
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

PREFIX: Final = "WADUD_"
_LEAST_SECRET: Final = 16
_LONGEST_REALM: Final = 127  # RFC 8489 section 14.9

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. ``read`` takes what an operator wrote (ValueError when it is wrong), ``show`` gives what may
    be printed of it; ``choices`` are all that are possible, empty when they are not counted."""

    read: Callable[[object], object]
    show: Callable[[Any], object] = lambda value: value
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is declared.

    ``metavar`` stands for its value in --help, ``default_text`` for a default that is computed or None. ``relay``: it
    concerns the relay only. ``turn``: `bin/turn` has it too. ``command_line``: it may be given there; a secret may not,
    as the process list would show it.
    """

    name: str
    kind: Kind
    default: object
    help: str
    metavar: str
    default_text: str = ""
    relay: bool = False
    turn: bool = False
    command_line: bool = True

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    def default_in_words(self, default: object = None) -> str:
        """The default as people read it; ``default``: another than ours."""
        value = self.kind.show(self.default if default is None else default)
        if self.default_text:
            return self.default_text
        return ("yes" if value else "no") if isinstance(value, bool) else "none" if value in (None, ()) else str(value)


def setting(default: T, kind: Kind, help: str, metavar: str = "", **more: Any) -> T:
    """The field of a dataclass as a setting; ``more``: further fields of `Setting`."""
    declaration = Setting("", kind, default, help, metavar, **more)
    return dataclasses.field(default=default, metadata={"setting": declaration})


def declared(settings: type) -> dict[str, Setting]:
    """The settings that the fields of a dataclass declare, by name."""
    fields = dataclasses.fields(settings)
    return {field.name: dataclasses.replace(field.metadata["setting"], name=field.name) for field in fields}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text is needed")
    return value.strip()


def whole(least: int, most: int) -> Kind:
    """A whole number from ``least`` to ``most``."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("a whole number is needed")
        try:
            number = int(value)
        except ValueError:
            raise ValueError("a whole number is needed") from None
        if not least <= number <= most:
            raise ValueError(f"{least} to {most} is possible")
        return number

    return Kind(read)


def _ratio(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError("a number from 0 to 1 is needed")
    return number


def _switch(value: object) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    choice = known.get(str(value).strip().lower())
    if choice is None:
        raise ValueError("true or false is needed")
    return choice


def one_of(*choices: str) -> Kind:
    """One of a few words."""

    def read(value: object) -> str:
        choice = _text(value).lower()
        if choice not in choices:
            raise ValueError(f"{', '.join(choices[:-1])} or {choices[-1]} is needed")
        return choice

    return Kind(read, choices=choices)


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise ValueError("an IP address is needed") from None


def _items(value: object, needed: str) -> list[str]:
    """The items of a list, or of a text with commas or line ends between them; empty ones are left out."""
    items = value.replace("\n", ",").split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{needed} is needed")
    return [text for item in items if (text := str(item).strip())]


def _networks(value: object) -> tuple[str, ...]:
    items = _items(value, "a list of addresses and networks")
    try:
        return tuple(str(ipaddress.ip_network(item)) for item in items)
    except ValueError:
        raise ValueError("an address or network is wrong; write them as 10.0.0.7 or 10.0.0.0/8") from None


def _public_addresses(value: object) -> tuple[str, ...]:
    addresses = tuple(_address(item) for item in _items(value, "an IP address, or one of each family,"))
    if isinstance(value, str) and not addresses:
        raise ValueError("an IP address is needed")
    if len({ipaddress.ip_address(address).version for address in addresses}) != len(addresses):
        raise ValueError("one address of each family is possible, as 203.0.113.5,2001:db8::5")
    return addresses


def _nodes(value: object) -> tuple[str, ...]:
    return tuple(_node(item) for item in _items(value, "a list of addresses with ports"))


def _node(text: str) -> str:
    host, _, ports = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if bracketed != (address.version == 6):
            raise ValueError
        first, last = _port_range(ports if "-" in ports else f"{ports}-{ports}")
    except ValueError:
        raise ValueError(
            "an IP address with a port or a range of ports is needed, as 203.0.113.7:443-446 or [2001:db8::5]:443"
        ) from None
    return f"{f'[{address}]' if bracketed else address}:{first if first == last else f'{first}-{last}'}"


def _port_range(value: object) -> tuple[int, int]:
    first, _, last = _text(value).partition("-")
    try:
        pair = int(first), int(last)
        if not all(1 <= port <= 65535 for port in pair):
            raise ValueError
    except ValueError:
        raise ValueError("a range of ports is needed, as 49152-65535") from None
    if pair[0] > pair[1]:
        raise ValueError("the first port of the range is above the last")
    return pair


def _host_port(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(f"//{text}")
        good = bool(parts.hostname) and bool(parts.port) and parts.netloc == text and "@" not in text
    except ValueError:
        good = False
    if not good:
        raise ValueError("host:port is needed, as stun.example.com:3478 or [2001:db8::5]:3478")
    return text


def _relay_secret(value: object) -> str:
    text = _text(value)
    if len(text) < _LEAST_SECRET:
        raise ValueError(f"at least {_LEAST_SECRET} characters are needed; whoever guesses it may relay at will")
    return text


def _realm(value: object) -> str:
    text = _text(value)
    if len(text) > _LONGEST_REALM or not text.isprintable() or '"' in text or "\\" in text:
        raise ValueError(f"at most {_LONGEST_REALM} printable characters without quotes are needed")
    return text


def _users(value: object) -> tuple[str, ...]:
    users = tuple(_items(value, "a list of name:password"))
    names = [user.partition(":")[0] for user in users]
    if not all(name and user.partition(":")[2] for name, user in zip(names, users, strict=True)):
        raise ValueError("each user is written as name:password")
    if len(set(names)) != len(names):
        raise ValueError("a name stands there twice")
    return users


def url(*schemes: str) -> Kind:
    """A URL of one of ``schemes``. A password and the values of the query are not printed."""

    def read(value: object) -> str:
        text = _text(value)
        try:
            parts = urlsplit(text)
            good = parts.scheme in schemes and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)} is needed")
        return text if schemes != _WEB else text.rstrip("/")

    return Kind(read, lambda value: value and masked(value))


def masked(url: str) -> str:
    """``url`` without its password and without the values of its query."""
    parts = urlsplit(url)
    user, separator, host = parts.netloc.rpartition("@")
    if separator:
        host = (f"{user.partition(':')[0]}:***@" if ":" in user else f"{user}@") + host
    query = "&".join(f"{part.partition('=')[0]}=***" for part in parts.query.split("&")) if parts.query else ""
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{query}" if query else "")


_WEB: Final = ("http", "https")
TEXT: Final = Kind(_text)
SWITCH: Final = Kind(_switch)
PATH: Final = Kind(lambda value: value if isinstance(value, Path) else Path(_text(value)))
PORT: Final = whole(0, 65535)
COUNT: Final = whole(0, 10_000_000)
WEB_URL: Final = url(*_WEB)
RATIO: Final = Kind(_ratio)
ADDRESS: Final = Kind(_address)
PUBLIC_ADDRESSES: Final = Kind(_public_addresses)
NETWORKS: Final = Kind(_networks)
NODES: Final = Kind(_nodes)
HOST_PORT: Final = Kind(_host_port)
PORT_RANGE: Final = Kind(_port_range, lambda ports: f"{ports[0]}-{ports[1]}")
REALM: Final = Kind(_realm)
RELAY_SECRET: Final = Kind(_relay_secret, lambda value: value and "***")
USERS: Final = Kind(_users, lambda users: tuple(f"{user.partition(':')[0]}:***" for user in users))
