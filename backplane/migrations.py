"""Brings the schema of a database up to date from numbered SQL files.

A series is a folder of files ``NNNN_name.sql`` (expand: the code before it still works after it) and
``NNNN_name.contract.sql`` (contract: takes away what the code before the last release still used; applied only when
asked for). Files are applied in order, series after series, each in one transaction together with its line in
``schema_migration``. What was applied never changes: a file whose checksum differs from the one applied is refused, and
so is a new file numbered below an applied one. Runners wait for each other on an advisory lock, so every server may
migrate at its start.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    _RawConnection = asyncpg.Connection[asyncpg.Record]

LOCK_KEY: Final = 0x5741_4455_44  # "WADUD"
_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+?)(\.contract)?\.sql")
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migration (
    series text NOT NULL,
    number int NOT NULL,
    name text NOT NULL,
    contract boolean NOT NULL,
    checksum bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (series, number)
)"""


class MigrationError(Exception):
    """The files do not fit the database, or one of them failed; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Series:
    """A folder of migrations; ``name`` tells it from others in the database."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    series: str
    number: int
    name: str
    contract: bool
    sql: str

    @property
    def checksum(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()

    @property
    def label(self) -> str:
        return f"{self.series}/{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that was applied now, or in a dry run would be."""

    series: str
    number: int
    name: str
    contract: bool


def read(series: Series) -> list[Migration]:
    """The files of a series in order. Raises MigrationError: a name that does not fit or a number used twice."""
    found: dict[int, Migration] = {}
    for path in sorted(series.path.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{series.name}: {path.name} is not named NNNN_name.sql or NNNN_name.contract.sql")
        number = int(match[1])
        if number in found:
            raise MigrationError(f"{series.name}: the number {match[1]} is used twice; give {path.name} a new one")
        found[number] = Migration(series.name, number, match[2], match[3] is not None, path.read_text())
    return [found[number] for number in sorted(found)]


async def migrate(
    url: str, series: Sequence[Series], *, dry_run: bool = False, contract: bool = False
) -> list[Applied]:
    """Applies what is missing and returns it; with ``dry_run`` changes nothing. ``contract``: contract files as well.

    Raises:
        MigrationError: a file that was applied has changed, a new one comes too late, or one failed. What came before
            it stays applied; nothing of it does.
        OSError, asyncpg.PostgresError: there is no connection.
    """
    files = [read(each) for each in series]
    connection = await asyncpg.connect(url, server_settings={"application_name": "wadud migrate"})
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        if not dry_run:
            await connection.execute(f"SET client_min_messages = warning; {_TABLE}; RESET client_min_messages")
        applied: list[Applied] = []
        for migrations in files:
            for migration in await _missing(connection, migrations, contract):
                if not dry_run:
                    await _apply(connection, migration)
                applied.append(Applied(migration.series, migration.number, migration.name, migration.contract))
        return applied
    finally:
        await connection.close()


async def _missing(connection: "_RawConnection", migrations: list[Migration], contract: bool) -> list[Migration]:
    if not migrations or not await connection.fetchval("SELECT to_regclass('schema_migration') IS NOT NULL"):
        return [each for each in migrations if contract or not each.contract]
    rows = await connection.fetch(
        "SELECT number, checksum FROM schema_migration WHERE series = $1", migrations[0].series
    )
    checksums: dict[int, bytes] = {row["number"]: row["checksum"] for row in rows}
    newest = max(checksums, default=0)
    missing = []
    for migration in migrations:
        if migration.number in checksums:
            if checksums[migration.number] != migration.checksum:
                raise MigrationError(
                    f"{migration.label} has changed since it was applied. Restore the file and put the change into a "
                    "new one."
                )
        elif migration.contract:
            if contract:
                missing.append(migration)
        elif migration.number < newest:
            raise MigrationError(
                f"{migration.label} comes too late: {newest:04} is applied already. Give it a higher number."
            )
        else:
            missing.append(migration)
    return missing


async def _apply(connection: "_RawConnection", migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migration (series, number, name, contract, checksum) VALUES ($1, $2, $3, $4, $5)",
                migration.series,
                migration.number,
                migration.name,
                migration.contract,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.label}{_place(migration.sql, error)}: {error}") from error


def _place(sql: str, error: asyncpg.PostgresError) -> str:
    position = getattr(error, "position", None)
    return f" line {sql.count(chr(10), 0, int(position) - 1) + 1}" if position else ""


def all_series(root: Path) -> list[Series]:
    """The series of a checkout that are there."""
    series = [Series(name, root / name / "sql") for name in ("backplane", "booking")]
    return [each for each in series if each.path.is_dir()]
