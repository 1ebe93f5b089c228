"""Migrations against a real server: once, in order, whole, and never rewritten."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from backplane.migrations import Applied, MigrationError, Series, all_series, migrate, read


@pytest.fixture
def series(tmp_path: Path) -> Series:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (n int);\nINSERT INTO first VALUES (1);\n")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE first ADD COLUMN m int;\n")
    return Series("test", tmp_path)


async def value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_what_is_missing_is_applied_in_order_and_once(empty_database_url: str, series: Series) -> None:
    assert await migrate(empty_database_url, [series]) == [
        Applied("test", 1, "first", False),
        Applied("test", 2, "second", False),
    ]
    assert await migrate(empty_database_url, [series]) == []
    (series.path / "0003_third.sql").write_text("UPDATE first SET m = 3;")
    assert [each.number for each in await migrate(empty_database_url, [series])] == [3]
    assert await value(empty_database_url, "SELECT m FROM first") == 3


async def test_a_file_that_changed_after_it_was_applied_is_refused(empty_database_url: str, series: Series) -> None:
    await migrate(empty_database_url, [series])
    (series.path / "0001_first.sql").write_text("CREATE TABLE first (n bigint);")
    (series.path / "0003_third.sql").write_text("CREATE TABLE third (n int);")
    with pytest.raises(MigrationError, match=r"test/0001_first has changed .* Restore"):
        await migrate(empty_database_url, [series])
    assert await value(empty_database_url, "SELECT to_regclass('third')") is None


async def test_a_file_that_comes_too_late_is_refused(empty_database_url: str, series: Series) -> None:
    (series.path / "0005_fifth.sql").write_text("SELECT 1;")
    await migrate(empty_database_url, [series])
    (series.path / "0004_fourth.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=r"test/0004_fourth comes too late: 0005"):
        await migrate(empty_database_url, [series])


async def test_a_file_that_fails_leaves_nothing_and_what_came_before_stays(
    empty_database_url: str, series: Series
) -> None:
    (series.path / "0002_second.sql").write_text("CREATE TABLE second (n int);\n\nSELECT nonsense;\n")
    with pytest.raises(MigrationError, match=r'test/0002_second line 3: column "nonsense"'):
        await migrate(empty_database_url, [series])
    assert await value(empty_database_url, "SELECT to_regclass('second')") is None
    assert await value(empty_database_url, "SELECT max(number) FROM schema_migration") == 1
    (series.path / "0002_second.sql").write_text("CREATE TABLE second (n int);\n")
    assert [each.number for each in await migrate(empty_database_url, [series])] == [2]


async def test_runners_at_the_same_time_apply_each_file_once(empty_database_url: str, series: Series) -> None:
    (series.path / "0003_slow.sql").write_text("SELECT pg_sleep(0.1); CREATE TABLE slow (n int);")
    results = await asyncio.gather(*(migrate(empty_database_url, [series]) for _ in range(6)))
    assert sorted(len(applied) for applied in results) == [0, 0, 0, 0, 0, 3]
    assert await value(empty_database_url, "SELECT count(*) FROM first") == 1


async def test_a_dry_run_tells_and_changes_nothing(empty_database_url: str, series: Series) -> None:
    told = await migrate(empty_database_url, [series], dry_run=True)
    assert [each.number for each in told] == [1, 2]
    assert (
        await value(empty_database_url, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        == 0
    )
    assert await migrate(empty_database_url, [series]) == told
    assert await migrate(empty_database_url, [series], dry_run=True) == []


async def test_contract_files_wait_until_they_are_asked_for(empty_database_url: str, series: Series) -> None:
    (series.path / "0003_drop.contract.sql").write_text("ALTER TABLE first DROP COLUMN n;")
    (series.path / "0004_more.sql").write_text("SELECT 1;")
    assert [each.number for each in await migrate(empty_database_url, [series])] == [1, 2, 4]
    assert await migrate(empty_database_url, [series], contract=True) == [Applied("test", 3, "drop", True)]
    assert await migrate(empty_database_url, [series], contract=True) == []


async def test_series_are_numbered_apart(empty_database_url: str, series: Series, tmp_path: Path) -> None:
    other = Series("other", tmp_path / "other")
    other.path.mkdir()
    (other.path / "0001_more.sql").write_text("CREATE TABLE other AS SELECT * FROM first;")
    applied = await migrate(empty_database_url, [series, other])
    assert [(each.series, each.number) for each in applied] == [("test", 1), ("test", 2), ("other", 1)]


@pytest.mark.parametrize(
    ("name", "told"),
    [("1_short.sql", "is not named"), ("0002_again.sql", "used twice"), ("0003-dash.sql", "not named")],
)
def test_names_that_do_not_fit_are_refused(series: Series, name: str, told: str) -> None:
    (series.path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=told):
        read(series)


async def test_a_user_who_is_no_superuser_can_own_the_schema(
    empty_database_url: str, postgres_url: str, root: Path
) -> None:
    """As on a managed server: the owner may create roles but is not above row security."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE ROLE owner_of_all LOGIN CREATEROLE")
    await connection.execute("GRANT wadud_app, wadud_platform TO owner_of_all")
    await connection.execute("ALTER SCHEMA public OWNER TO owner_of_all")
    await connection.close()
    url = empty_database_url.replace("//wadud@", "//owner_of_all@")
    assert url != empty_database_url
    assert await migrate(url, all_series(root))
    assert await value(url, "SELECT count(*) FROM outbox") == 0
