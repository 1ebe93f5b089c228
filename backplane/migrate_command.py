"""`bin/migrate`: brings the schema of a database up to date, or with ``--dry-run`` tells what that would do."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from backplane import embedded_postgres
from backplane.arguments import MIGRATE
from backplane.config import ConfigError, load
from backplane.migrations import Applied, MigrationError, all_series, migrate

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0, or 1 when a migration was refused or failed or there is no database."""
    try:
        found = load(arguments, os.environ, MIGRATE)
        options, settings = found.options, found.settings
        if url := options.url or settings.postgres_url:
            applied = asyncio.run(_migrate(url, options))
        else:
            with embedded_postgres.running(settings.data / "postgres") as cluster:
                applied = asyncio.run(_migrate(cluster.url(), options))
    except (ConfigError, MigrationError, embedded_postgres.EmbeddedPostgresError) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        print(f"The database does not answer: {error}", file=sys.stderr)
        return 1
    for each in applied:
        label = f"{each.series}/{each.number:04}_{each.name}{' (contract)' if each.contract else ''}"
        print(f"{'would apply' if options.dry_run else 'applied'} {label}")
    if not applied:
        print("The schema is up to date.")
    return 0


async def _migrate(url: str, options: argparse.Namespace) -> list[Applied]:
    return await migrate(url, all_series(ROOT), dry_run=options.dry_run, contract=options.contract)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
