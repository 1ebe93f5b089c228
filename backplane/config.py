"""Where settings come from: the command line, before the environment, before a TOML file, before the default.

Every setting has one name: ``postgres_url`` is ``--postgres-url``, ``WADUD_POSTGRES_URL`` and ``postgres_url = "..."``.
With ``_FILE`` (``_file`` in TOML) behind the name, the value is the content of that file, as secrets are handed to
containers and services. A name that is not known is a mistake that would go unnoticed, so it is refused with a hint.
Nothing here needs more than the standard library, so `bin/serve --print-config` works on a bare machine.
"""

import argparse
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane.arguments import SERVE, Command
from backplane.setting_kinds import PREFIX
from backplane.settings import SETTINGS, Settings

# Of the environment, but of other programs of ours than the server.
_NOT_SETTINGS: Final = ("WADUD_CONFIG", "WADUD_ARGUMENTS", "WADUD_RELAY_ARGUMENTS", "WADUD_SEED", "WADUD_TEST_")

_Layer = dict[str, tuple[object, str]]  # name of a setting -> the value as it was written, and where


class ConfigError(Exception):
    """A setting is wrong. The text says which, where, and what to do; it never quotes a value."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings, of each where it comes from, and the options of the command that are no settings."""

    settings: Settings
    sources: Mapping[str, str]
    options: argparse.Namespace

    @property
    def print_only(self) -> bool:
        """Whether --print-config was given."""
        return bool(getattr(self.options, "print_config", False))

    def report(self) -> str:
        """One line per setting, as TOML with its source as comment; secrets are masked."""
        return "\n".join(
            f"{name} = {_toml(SETTINGS[name].kind.show(getattr(self.settings, name)))}  # {source}"
            for name, source in self.sources.items()
        )


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return '"' + ("" if value is None else str(value)).replace("\\", "\\\\").replace('"', '\\"') + '"'


def effective(arguments: Sequence[str], environment: Mapping[str, str], command: Command = SERVE) -> Effective:
    """As `load`, for a command: says what is wrong, or on --print-config what is effective, and exits."""
    try:
        found = load(arguments, environment, command)
    except ConfigError as error:
        command.parser().error(str(error))
    if found.print_only:
        print(found.report())
        raise SystemExit(0)
    return found


def load(arguments: Sequence[str], environment: Mapping[str, str], command: Command = SERVE) -> Effective:
    """The effective settings.

    Raises:
        ConfigError: a setting is unknown or wrong.
        SystemExit: as argparse does, on a mistake in ``arguments`` and on --help.
    """
    options = command.parser().parse_args(arguments)
    file = options.config or environment.get(PREFIX + "CONFIG")
    values = dict(command.defaults)
    sources = dict.fromkeys(SETTINGS, "default")
    for layer in (_from_file(Path(file)) if file else {}, _from_environment(environment), _from_options(options)):
        for name, (value, source) in layer.items():
            try:
                values[name] = SETTINGS[name].kind.read(value)
            except ValueError as error:
                raise ConfigError(f"{name} ({source}): {error}.") from None
            sources[name] = source
    settings = Settings(**values)  # type: ignore[arg-type]
    if settings.certificate is not None and settings.self_signed:
        raise ConfigError("certificate and self_signed are both set. Keep one.")
    if settings.certificate is None and settings.certificate_key is not None:
        raise ConfigError("certificate_key is set without certificate. Give the certificate that belongs to it too.")
    return Effective(settings, sources, options)


def _from_options(options: argparse.Namespace) -> _Layer:
    given = vars(options)
    return {name: (given[setting.flag], setting.flag) for name, setting in SETTINGS.items() if setting.flag in given}


def _from_environment(environment: Mapping[str, str]) -> _Layer:
    names = {setting.variable: name for name, setting in SETTINGS.items()}
    found: _Layer = {}
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


def _from_file(path: Path) -> _Layer:
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read.") from None
    except tomllib.TOMLDecodeError as error:
        # its text may quote the line, which may hold a password
        place = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else "somewhere"
        raise ConfigError(f"{path} is not TOML ({place}).") from None
    found: _Layer = {}
    for key, value in table.items():
        secret = key.endswith("_file")
        name = key.removesuffix("_file") if secret else key
        if name not in SETTINGS:
            raise ConfigError(f"{key} in {path} is not a setting. {_hint(key, list(SETTINGS))}")
        if name in found:
            raise ConfigError(f"{name} and {name}_file are both in {path}. Keep one.")
        if secret:
            value = _read_secret(str(path.parent / str(value)), f"{key} in {path}")
        found[name] = (value, str(path))
    return found


def _read_secret(path: str, where: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{where}: the file that it names cannot be read.") from None


def _hint(name: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, among, n=1)
    return f"Did you mean {near[0]}?" if near else "bin/serve --print-config lists the settings."
