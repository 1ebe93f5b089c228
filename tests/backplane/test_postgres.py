"""The pool against a real server: tenants stay apart, whatever happens to a connection."""

from backplane.postgres import Database


async def test_a_tenant_sees_its_own_rows_only(database: Database) -> None:
    for tenant in (1, 2):
        async with database.tenant(tenant) as connection:
            await connection.execute(
                "INSERT INTO job (key, kind, subject, run_at, payload) VALUES ('k', 'x', gen_random_uuid(), now(), $1)",
                {"of": tenant},
            )
    for tenant in (1, 2):
        async with database.tenant(tenant) as connection:
            assert [row["payload"] for row in await connection.fetch("SELECT payload FROM job")] == [{"of": tenant}]
    async with database.platform() as connection:
        assert await connection.fetchval("SELECT count(*) FROM job") == 2
