"""bin/admin's command: the first clinic and the first admins, once, beside a running server or before its start."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backplane import bootstrap, embedded_postgres
from backplane.postgres import Database
from backplane.settings import Settings
from booking import admin_command
from booking.identity.passwords import Passwords
from booking.identity.platform_routes import NewTenant

FOUND = ["found", "--slug", "mercy", "--name", "Mercy Clinic", "--email", "Amina@mercy.example"]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTGRES_URL", "BASE_URL", "SMTP_URL", "CONFIG"):
        monkeypatch.delenv(f"WADUD_{name}", raising=False)


def unasked(prompt: str) -> str:
    raise AssertionError("nothing is asked for")


async def run(*arguments: str, ask: Callable[[str], str] = unasked) -> int:
    return await asyncio.to_thread(admin_command.main, arguments, ask)


async def test_a_clinic_and_its_admin_are_made_once(
    database: Database, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    order = [*FOUND, "--postgres-url", database_url, "--timezone", "Europe/Berlin", "--region", "DE", "--locale", "de"]
    assert await run(*order) == 0
    told = capsys.readouterr().out
    assert "The clinic mercy was made." in told
    assert "http://mercy.localhost:8080/sign-in: ask for a code" in told
    assert await run(*order) == 0
    assert "was there already" in capsys.readouterr().out
    async with database.platform() as platform:
        rows = await platform.fetch(
            "SELECT t.name, t.timezone, t.region, t.locale, i.value, m.role, p.timezone AS own FROM tenant t"
            " JOIN membership m ON m.tenant_id = t.id JOIN person p ON p.id = m.person_id"
            " JOIN identity i ON i.person_id = p.id WHERE t.slug = 'mercy'"
        )
        assert [tuple(row) for row in rows] == [
            ("Mercy Clinic", "Europe/Berlin", "DE", "de", "amina@mercy.example", "clinic_admin", "Europe/Berlin")
        ]
        trail = await platform.fetch(
            "SELECT e.action, e.actor_role FROM audit_entry e JOIN tenant t ON t.id = e.tenant_id"
            " WHERE e.actor_role = 'operator' ORDER BY e.id"
        )
    assert [row["action"] for row in trail] == ["tenant.created", "membership.granted"]


async def test_another_address_is_one_more_admin_and_another_name_a_mistake(
    database: Database, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--postgres-url", database_url)
    assert await run(*FOUND, "--host", "mercy.example", *where) == 0
    assert "https://mercy.example/sign-in" in capsys.readouterr().out
    assert await run(*FOUND[:-1], "second@mercy.example", *where) == 0
    assert await run(*FOUND, "--name", "Grace", *where) == 1
    assert "Choose another --slug" in capsys.readouterr().err
    assert await run(*FOUND, "--slug", "grace", "--host", "mercy.example", *where) == 1
    assert "host names" in capsys.readouterr().err
    async with database.platform() as platform:
        admins = await platform.fetchval("SELECT count(*) FROM membership WHERE role = 'clinic_admin'")
        clinics = await platform.fetchval("SELECT count(*) FROM tenant WHERE id <> 1")
    assert (admins, clinics) == (2, 1)


async def test_the_first_admin_of_the_platform_signs_in_with_a_password_that_was_asked_for(
    database: Database, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ("platform", "--email", "ops@example.com", "--password", "--postgres-url", database_url)
    assert await run(*order, ask=lambda prompt: PASSWORD) == 0
    told = capsys.readouterr().out
    assert "http://platform.localhost:8080/sign-in: with the password" in told
    assert "second factor" in told
    assert PASSWORD not in told
    async with database.tenant(1) as connection:
        row = await connection.fetchrow(
            "SELECT w.hash, m.role FROM password w JOIN membership m ON m.person_id = w.person_id"
        )
    assert row is not None
    assert row["role"] == "platform_admin"
    passwords = Passwords(threads=1)
    assert await passwords.verify(row["hash"], PASSWORD)
    assert await run(*order, ask=lambda prompt: "another good one") == 0
    assert "stays as it was" in capsys.readouterr().out
    async with database.tenant(1) as connection:
        assert await connection.fetchval("SELECT hash FROM password") == row["hash"]
    passwords.close()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--slug", "Mercy!"], "--slug"),
        (["--timezone", "Mars/Olympus"], "--timezone"),
        (["--email", "nobody"], "--email"),
        (["--host", "no host"], "--host"),
        (["--region", "Pakistan"], "--region"),
        (["--postgres-url", "postgresql://wadud@/wadud?host=%2Fnowhere"], "does not answer"),
    ],
)
def test_a_mistake_is_told_with_its_option(wrong: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--postgres-url", "postgresql://wadud@/wadud?host=%2Fnowhere"]
    assert admin_command.main([*FOUND, *where, *wrong], unasked) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "told"), [(["short", "short"], "characters"), ([PASSWORD, "another"], "two different")]
)
def test_a_password_that_nobody_should_have_is_refused(
    answers: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left = iter(answers)
    assert admin_command.main([*FOUND, "--password"], lambda prompt: next(left)) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("base_url", "hosts", "clinic", "platform"),
    [
        (None, (), "http://mercy.localhost:8080/sign-in", "http://platform.localhost:8080/sign-in"),
        ("https://visit.example", (), "https://mercy.visit.example/sign-in", "https://visit.example/sign-in"),
        ("https://visit.example", ("a.example",), "https://a.example/sign-in", "https://visit.example/sign-in"),
    ],
)
def test_it_says_where_to_sign_in(base_url: str | None, hosts: tuple[str, ...], clinic: str, platform: str) -> None:
    settings = Settings(base_url=base_url)
    wanted = NewTenant(slug="mercy", name="Mercy", admin_email="a@example.com", hosts=hosts)
    assert admin_command.sign_in_address(settings, wanted) == clinic
    assert admin_command.sign_in_address(settings, None) == platform


@pytest.fixture
def data() -> Iterator[Path]:
    if embedded_postgres.system_binaries() is None:
        pytest.skip("no Postgres on this machine")
    directory = Path(tempfile.mkdtemp(prefix="wadud-admin-"))
    yield directory / "data"
    shutil.rmtree(directory)


async def test_the_private_postgres_is_started_for_it_and_used_beside_a_running_server(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(*FOUND, "--data", str(data)) == 0
    assert str(data / "mail") in capsys.readouterr().out
    cluster = await asyncio.to_thread(embedded_postgres.start, data / "postgres")
    try:
        assert await run(*FOUND[:-1], "second@mercy.example", "--data", str(data)) == 0
        assert "was there already" in capsys.readouterr().out
        running = await Database.open(cluster.url(), min_size=1, max_size=1)
        async with running.platform() as platform:
            assert await platform.fetchval("SELECT count(*) FROM membership WHERE role = 'clinic_admin'") == 2
        await running.close()
    finally:
        await asyncio.to_thread(cluster.stop)


def test_a_mistyped_option_is_refused_before_any_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "set_up", lambda *a, **k: pytest.fail("set-up began"))
    with pytest.raises(SystemExit) as caught:
        bootstrap.main(["admin", "found", "--slog", "mercy"])
    assert caught.value.code == 2
    assert "--" in capsys.readouterr().err
