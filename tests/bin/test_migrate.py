"""bin/migrate's command: what it tells, what it changes, how it ends."""

import asyncio

import asyncpg
import pytest

from backplane import migrate_command


def tables(url: str) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
        finally:
            await connection.close()

    return asyncio.run(count())


async def test_a_dry_run_tells_then_a_run_applies_then_nothing_is_left(
    empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = empty_database_url

    async def run(*arguments: str) -> list[str]:
        assert await asyncio.to_thread(migrate_command.main, ["--url", url, *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    told = await run("--dry-run")
    assert told[0] == "would apply backplane/0001_plumbing"
    assert await asyncio.to_thread(tables, url) == 0
    assert await run() == [line.replace("would apply", "applied") for line in told]
    assert await run() == ["The schema is up to date."]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://wadud@/wadud?host=%2Fnowhere", "does not answer"),
        ("mysql://somewhere", "does not answer"),
    ],
)
def test_without_a_database_it_says_so(url: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate_command.main(["--url", url]) == 1
    assert told in capsys.readouterr().err
