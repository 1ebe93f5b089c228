"""Where settings come from: the command line, before the environment, before a TOML file, before the default.

Every setting has one name: ``postgres_url`` is ``--postgres-url``, ``WADUD_POSTGRES_URL`` and ``postgres_url = "..."``.
With ``_FILE`` (``_file`` in TOML) behind the name, the value is the content of that file, as secrets are handed to
containers and services. A name that is not known is a mistake that would go unnoticed, so it is refused with a hint.
Nothing here needs more than the standard library, so `bin/serve --print-config` works on a bare machine.
"""

import argparse
import dataclasses
import difflib
import ipaddress
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from backplane.arguments import serve_parser
from backplane.settings import Settings, default_workers

PREFIX: Final = "WADUD_"
# Of the environment, but of other programs of ours than the server.
_NOT_SETTINGS: Final = ("WADUD_CONFIG", "WADUD_ARGUMENTS", "WADUD_RELAY_ARGUMENTS", "WADUD_SEED", "WADUD_TEST_")
_ABSENT: Final = object()
_LEAST_SECRET: Final = 16
_LONGEST_REALM: Final = 127  # RFC 8489 section 14.9
_PEERS: Final = ("media", "public")
_LEVELS: Final = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """A setting is wrong. The text says which, where, and what to do; it never quotes a value."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text is needed")
    return value.strip()


def _whole(least: int, most: int) -> Callable[[object], int]:
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

    return read


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


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise ValueError("an IP address is needed") from None


def _networks(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("a list of addresses and networks is needed")
    try:
        return tuple(str(ipaddress.ip_network(str(item).strip())) for item in items if str(item).strip())
    except ValueError:
        raise ValueError("an address or network is wrong; write them as 10.0.0.7 or 10.0.0.0/8") from None


def _url(*schemes: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _text(value)
        try:
            parts = urlsplit(text)
            good = parts.scheme in schemes and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good:
            raise ValueError(
                "a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes) + " is needed"
            )
        return text

    return read


def _web_url(value: object) -> str:
    return _url("http", "https")(value).rstrip("/")


def _level(value: object) -> str:
    level = _text(value).lower()
    if level not in _LEVELS:
        raise ValueError(f"one of {', '.join(_LEVELS)} is needed")
    return level


def _peers(value: object) -> str:
    peers = _text(value).lower()
    if peers not in _PEERS:
        raise ValueError("media or public is needed")
    return peers


def _nodes(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("a list of addresses with ports is needed")
    return tuple(_node(str(item).strip()) for item in items if str(item).strip())


def _node(text: str) -> str:
    host, _, ports = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if bracketed != (address.version == 6):
            raise ValueError
        first, last = _ports(ports if "-" in ports else f"{ports}-{ports}")
    except ValueError:
        raise ValueError(
            "an IP address with a port or a range of ports is needed, as 203.0.113.7:443-446 or [2001:db8::5]:443"
        ) from None
    return f"{f'[{address}]' if bracketed else address}:{first if first == last else f'{first}-{last}'}"


def _path(value: object) -> Path:
    return value if isinstance(value, Path) else Path(_text(value))


def _public_addresses(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("an IP address is needed, or one of each family")
    addresses = tuple(_address(item) for item in items)
    if len({ipaddress.ip_address(address).version for address in addresses}) != len(addresses):
        raise ValueError("one address of each family is possible, as 203.0.113.5,2001:db8::5")
    return addresses


def _ports(value: object) -> tuple[int, int]:
    first, _, last = _text(value).partition("-")
    try:
        pair = _whole(1, 65535)(first), _whole(1, 65535)(last)
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
    items = value.replace("\n", ",").split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("a list of name:password is needed")
    users = tuple(str(item).strip() for item in items if str(item).strip())
    names = [user.partition(":")[0] for user in users]
    if not all(name and user.partition(":")[2] for name, user in zip(names, users, strict=True)):
        raise ValueError("each user is written as name:password")
    if len(set(names)) != len(names):
        raise ValueError("a name stands there twice")
    return users


_PORT: Final = _whole(0, 65535)
_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "host": _text,
    "port": _PORT,
    "public_ip": _public_addresses,
    "media_port": _PORT,
    "data": _path,
    "workers": _whole(1, 1024),
    "max_rooms": _whole(1, 10_000_000),
    "rooms_per_address": _whole(0, 10_000_000),
    "people_per_address": _whole(0, 10_000_000),
    "tokens_per_minute": _whole(0, 10_000_000),
    "room_idle_s": _whole(0, 86_400),
    "log_level": _level,
    "web": _path,
    "postgres_url": _url("postgres", "postgresql"),
    "postgres_connections": _whole(2, 1000),
    "redis_url": _url("redis", "rediss", "unix"),
    "smtp_url": _url("smtp", "smtps"),
    "mail_from": _text,
    "base_url": _web_url,
    "trusted_proxies": _networks,
    "otlp_endpoint": _web_url,
    "trace_ratio": _ratio,
    "demo": _switch,
    "certificate": _path,
    "certificate_key": _path,
    "self_signed": _switch,
    "relay": _switch,
    "relay_secret": _relay_secret,
    "relay_secret_previous": _relay_secret,
    "relay_realm": _realm,
    "relay_ports": _ports,
    "relay_peers": _peers,
    "relay_nodes": _nodes,
    "relay_allow": _networks,
    "relay_users": _users,
    "relay_quota": _whole(0, 1_000_000),
    "relay_quota_address": _whole(0, 1_000_000),
    "relay_bandwidth_bps": _whole(0, 100_000_000_000),
    "stun_alternate": _address,
    "stun_server": _host_port,
}
# URLs that may hold a password
SECRET: Final = frozenset({"postgres_url", "redis_url", "smtp_url", "otlp_endpoint"})
_WHOLLY_SECRET: Final = frozenset({"relay_secret", "relay_secret_previous"})


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings, and of each where it comes from. ``print_only``: --print-config was given."""

    settings: Settings
    sources: Mapping[str, str]
    print_only: bool = False

    def report(self) -> str:
        """One line per setting, as TOML with its source as comment; secrets are masked."""
        return "\n".join(
            f"{name} = {_shown(name, getattr(self.settings, name))}  # {source}"
            for name, source in self.sources.items()
        )


def _shown(name: str, value: object) -> str:
    if value is None:
        return '""'
    if name in _WHOLLY_SECRET:
        return '"***"'
    if name == "relay_ports" and isinstance(value, tuple):
        return '"' + "-".join(str(port) for port in value) + '"'
    if name == "relay_users" and isinstance(value, tuple):
        value = tuple(f"{str(user).partition(':')[0]}:***" for user in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    text = masked(str(value)) if name in SECRET else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def masked(url: str) -> str:
    """``url`` without its password and without the values of its query."""
    parts = urlsplit(url)
    user, separator, host = parts.netloc.rpartition("@")
    if separator:
        host = (f"{user.partition(':')[0]}:***@" if ":" in user else f"{user}@") + host
    query = "&".join(f"{part.partition('=')[0]}=***" for part in parts.query.split("&")) if parts.query else ""
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{query}" if query else "")


def _hint(name: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, among, n=1)
    return f"Did you mean {near[0]}?" if near else "bin/serve --print-config lists the settings."


def _read_secret(path: str, where: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{where}: the file that it names cannot be read.") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    names = {PREFIX + name.upper(): name for name in _READERS}
    found: dict[str, tuple[object, str]] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(_NOT_SETTINGS) or not value:
            continue
        secret = variable.endswith("_FILE")
        name = names.get(variable.removesuffix("_FILE") if secret else variable)
        if name is None:
            raise ConfigError(f"{variable} in the environment is not a setting. {_hint(variable, list(names))}")
        if name in found:
            raise ConfigError(f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both set. Keep one.")
        found[name] = (_read_secret(value, variable) if secret else value, variable)
    return found


def _from_file(path: Path) -> dict[str, tuple[object, str]]:
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read.") from None
    except tomllib.TOMLDecodeError as error:
        # its text may quote the line, which may hold a password
        place = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else "somewhere"
        raise ConfigError(f"{path} is not TOML ({place}).") from None
    found: dict[str, tuple[object, str]] = {}
    for key, value in table.items():
        secret = key.endswith("_file")
        name = key.removesuffix("_file") if secret else key
        if name not in _READERS:
            raise ConfigError(f"{key} in {path} is not a setting. {_hint(key, list(_READERS))}")
        if name in found:
            raise ConfigError(f"{name} and {name}_file are both in {path}. Keep one.")
        if secret:
            value = _read_secret(str(path.parent / str(value)), f"{key} in {path}")
        found[name] = (value, str(path))
    return found


def _from_arguments(
    arguments: Sequence[str], parser: argparse.ArgumentParser
) -> tuple[dict[str, tuple[object, str]], argparse.Namespace]:
    # argparse leaves alone what the namespace has already, so what is still absent afterwards was not given
    empty = argparse.Namespace(**{action.dest: _ABSENT for action in parser._actions if action.dest in _READERS})
    given = parser.parse_args(arguments, empty)
    found = {
        name: (value, "--" + name.replace("_", "-"))
        for name, value in vars(given).items()
        if name in _READERS and value is not _ABSENT
    }
    return found, given


def effective(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    make_parser: Callable[[], argparse.ArgumentParser] = serve_parser,
) -> Effective:
    """As `load`, for a command: says what is wrong, or on --print-config what is effective, and exits."""
    try:
        found = load(arguments, environment, make_parser)
    except ConfigError as error:
        make_parser().error(str(error))
    if found.print_only:
        print(found.report())
        raise SystemExit(0)
    return found


def load(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    make_parser: Callable[[], argparse.ArgumentParser] = serve_parser,
) -> Effective:
    """The effective settings.

    Raises:
        ConfigError: a setting is unknown or wrong.
        SystemExit: as argparse does, on a mistake in ``arguments`` and on --help.
    """
    given, options = _from_arguments(arguments, make_parser())
    file = options.config or environment.get(PREFIX + "CONFIG")
    layers = [_from_file(Path(file)) if file else {}, _from_environment(environment), given]
    values: dict[str, object] = {}
    sources = {item.name: "default" for item in dataclasses.fields(Settings)}
    for layer in layers:
        for name, (value, source) in layer.items():
            try:
                values[name] = _READERS[name](value)
            except ValueError as error:
                raise ConfigError(f"{name} ({source}): {error}.") from None
            sources[name] = source
    values.setdefault("workers", default_workers())
    settings = Settings(**values)  # type: ignore[arg-type]
    if settings.certificate is not None and settings.self_signed:
        raise ConfigError("certificate and self_signed are both set. Keep one.")
    if settings.certificate is None and settings.certificate_key is not None:
        raise ConfigError("certificate_key is set without certificate. Give the certificate that belongs to it too.")
    return Effective(settings, sources, options.print_config)
