"""`bin/admin`: the clinics and people that must be there before anybody can invite anybody.

It speaks to the database that bin/serve uses, found by the same settings; the private one under ``--data`` is reached
while bin/serve runs, and started for a moment while it does not. Nothing secret is printed or taken from the command
line: the admin signs in by a code that is mailed, or by a password that is asked for here.
"""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import msgspec

from backplane import embedded_postgres
from backplane.api import utc_now
from backplane.arguments import ADMIN
from backplane.config import ConfigError, load
from backplane.migrations import MigrationError, all_series, migrate
from backplane.postgres import PASSING, Database
from backplane.settings import Settings
from booking.identity import contacts
from booking.identity.founding import TakenError, found, settle
from booking.identity.me_routes import check_zone
from booking.identity.passwords import Passwords
from booking.identity.people import known_by
from booking.identity.platform_routes import NewTenant
from booking.refusals import Refusal
from booking.rights import PLATFORM_ADMIN, PLATFORM_TENANT

ROOT: Final = Path(__file__).resolve().parent.parent


class RefusedError(Exception):
    """It was not done. The text says why and what to do."""


def main(arguments: Sequence[str], ask: Callable[[str], str] = getpass.getpass) -> int:
    """Returns the exit status: 0, or 1 when it was not done. ``ask``: for a text that nobody else may see."""
    try:
        found_settings = load(arguments, os.environ, ADMIN)
        options, settings = found_settings.options, found_settings.settings
        clinic = _clinic(options) if options.command == "found" else None
        contact = _contact(options.email)
        password = _asked(ask, contact) if options.password else None
        own = settings.postgres_url is None
        with (
            embedded_postgres.reached(settings.data / "postgres") if own else nullcontext(settings.postgres_url) as url
        ):
            assert url is not None
            said = asyncio.run(_done(url, options, clinic, contact, password, settings))
    except (RefusedError, ConfigError, MigrationError, embedded_postgres.EmbeddedPostgresError) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, *PASSING, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"The database does not answer: {error}", file=sys.stderr)
        return 1
    for line in said:
        print(line)
    return 0


async def _done(
    url: str,
    options: argparse.Namespace,
    clinic: NewTenant | None,
    contact: contacts.Contact,
    password: str | None,
    settings: Settings,
) -> list[str]:
    """What was done and what comes next, line by line."""
    await migrate(url, all_series(ROOT))
    database = await Database.open(url, min_size=1, max_size=1)
    passwords = Passwords(threads=1)
    try:
        hashed = None if password is None else await passwords.hash(password)
        known = await _known(database, contact, clinic)
        if clinic is None:
            async with database.tenant(PLATFORM_TENANT) as connection, connection.transaction():
                await settle(
                    connection,
                    contact.value,
                    utc_now(),
                    name=options.person,
                    roles=[PLATFORM_ADMIN],
                    password_hash=hashed,
                )
            said = [f"{contact.value} is an admin of the platform."]
        else:
            try:
                made = await found(
                    database,
                    utc_now(),
                    slug=clinic.slug,
                    name=clinic.name,
                    hosts=clinic.hosts,
                    region=clinic.region,
                    locale=clinic.locale,
                    timezone=clinic.timezone,
                    email=contact.value,
                    person=options.person,
                    password_hash=hashed,
                )
            except TakenError as error:
                raise RefusedError(_taken(error, clinic)) from None
            fresh = "was made" if made.fresh else "was there already and stays as it is"
            said = [f"The clinic {clinic.slug} {fresh}.", f"{contact.value} is an admin of it."]
    finally:
        passwords.close()
        await database.close()
    by_code = "ask for a code there; it is mailed" + ("" if settings.smtp_url else f" (into {settings.data / 'mail'})")
    if known and password is not None:
        said.append("This address had an account before, whose password stays as it was.")
    how = "with the password" if password is not None and not known else by_code
    said.append(f"Sign in at {sign_in_address(settings, clinic)}: {how}.")
    if clinic is None:
        said.append("The role counts once a second factor is enrolled (POST /v1/me/mfa/totp, see /docs).")
    return said


async def _known(database: Database, contact: contacts.Contact, clinic: NewTenant | None) -> bool:
    """Whether somebody there has this address already."""
    tenant: int | None = PLATFORM_TENANT
    if clinic is not None:
        async with database.platform() as platform:
            tenant = await platform.fetchval("SELECT id FROM tenant WHERE slug = $1", clinic.slug)
    if tenant is None:
        return False
    async with database.tenant(tenant) as connection:
        return await known_by(connection, contact.kind, contact.value) is not None


def sign_in_address(settings: Settings, clinic: NewTenant | None) -> str:
    """Where people of the clinic (None: the platform) sign in, as far as settings tell."""
    base = urlsplit(settings.base_url or settings.url)
    if clinic is None and settings.base_url:
        return f"{settings.base_url}/sign-in"
    if clinic is not None and clinic.hosts:
        return f"{base.scheme if settings.base_url else 'https'}://{clinic.hosts[0]}/sign-in"
    name = base.hostname if settings.base_url else "localhost"  # see booking.tenants: it has a clinic per label too
    port = "" if base.port is None else f":{base.port}"
    return f"{base.scheme}://{'platform' if clinic is None else clinic.slug}.{name}{port}/sign-in"


def _clinic(options: argparse.Namespace) -> NewTenant:
    wanted = {name: getattr(options, name) for name in ("slug", "name", "timezone", "region", "locale")}
    try:
        clinic = msgspec.convert({**wanted, "hosts": options.host, "admin_email": options.email}, NewTenant)
        check_zone(clinic.timezone)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        option = where.rstrip("`").partition("[")[0].replace("hosts", "host").replace("admin_email", "email")
        raise RefusedError(f"--{option}: {what[:1].lower()}{what[1:]}") from None
    except Refusal as error:
        raise RefusedError(f"--timezone: {error.detail}") from None
    return clinic


def _contact(email: str) -> contacts.Contact:
    try:
        return contacts.email(email)
    except ValueError as error:
        raise RefusedError(f"--email: {error}. Give one that the admin reads.") from None


def _asked(ask: Callable[[str], str], contact: contacts.Contact) -> str:
    try:
        password = ask(f"Password of {contact.value}: ")
        again = ask("The same again: ")
    except EOFError:
        raise RefusedError("A password is asked for on a terminal. Leave out --password to sign in by code.") from None
    if again != password:
        raise RefusedError("These were two different passwords. Say it again.")
    passwords = Passwords(threads=1)
    try:
        passwords.check(password, near=contact.value.partition("@")[0])
    except Refusal as error:
        raise RefusedError(error.detail) from None
    finally:
        passwords.close()
    return password


def _taken(error: TakenError, clinic: NewTenant) -> str:
    if error.what == "host":
        return "Another clinic has one of these host names. Leave it out, or take it from that clinic first."
    return f"{clinic.slug} is a clinic of another name. Choose another --slug, or give its --name for one more admin."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
