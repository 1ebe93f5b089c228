"""Search on a real Postgres: who is found by what, in which order, page by page, and by whom never."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backplane.postgres import Connection, Database
from backplane.principal import Tenant
from backplane.web import Problem
from booking.providers.index import forget_unused_words, reindex
from booking.providers.search import Wanted, find
from tests.support.providers import add_clinic, add_provider

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
LAHORE = (31.549, 74.344)
KARACHI = (24.861, 67.010)


async def names(connection: Connection, tenant: Tenant, wanted: Wanted, now: datetime = NOW) -> list[str]:
    page = await find(connection, tenant.id, wanted, cursor=None, limit=50, now=now)
    rows = await connection.fetch("SELECT id, display_name FROM provider")
    by_id: dict[UUID, str] = {row["id"]: row["display_name"] for row in rows}
    return [by_id[each.provider_id] for each in page.found]


@pytest.fixture
async def clinic(database: Database) -> Tenant:
    return await add_clinic(database)


PEOPLE: dict[str, dict[str, object]] = {
    "Ayesha Khan": {"specialties": ["dermatology"], "at": LAHORE},
    "عائشہ صدیقی": {"specialties": ["cardiology"], "at": KARACHI, "languages": ["ur"]},
    "Aisha Malik": {"specialties": ["paediatrics"]},
    "Muhammad Usman": {"specialties": ["cardiology", "internal-medicine"], "gender": "male", "at": LAHORE},
    "محمد عثمان": {"specialties": ["dentistry"], "gender": "male"},
    "Hassan Raza": {"specialties": ["neurology"], "gender": "male"},
    "Hussain Shah": {"specialties": ["urology"], "gender": "male"},
    "Sara O'Brien": {"specialties": ["ent"]},
    "Priya प्रिया Sharma": {"specialties": ["nephrology"], "languages": ["hi", "en-IN"]},
}


@pytest.mark.parametrize(
    ("typed", "first", "also"),
    [
        ("Ayesha", {"Ayesha Khan"}, {"عائشہ صدیقی"}),
        ("ayesha khan", {"Ayesha Khan"}, set()),
        ("dr. AYESHA", {"Ayesha Khan"}, set()),
        ("aye", {"Ayesha Khan"}, set()),
        ("عائشہ", {"عائشہ صدیقی"}, {"Ayesha Khan", "Aisha Malik"}),
        ("عايشة", {"عائشہ صدیقی"}, set()),
        ("ڈاکٹر عائشہ", {"عائشہ صدیقی"}, set()),
        ("Siddiqui", {"عائشہ صدیقی"}, set()),
        ("Usman", {"Muhammad Usman"}, {"محمد عثمان"}),
        ("Othman", {"محمد عثمان"}, set()),
        ("ayehsa", {"Ayesha Khan"}, set()),
        ("aysha", {"Ayesha Khan", "Aisha Malik", "عائشہ صدیقی"}, set()),
        ("khn", {"Ayesha Khan"}, set()),
        ("kahn", {"Ayesha Khan"}, set()),
        ("mohammad usmaan", {"Muhammad Usman", "محمد عثمان"}, set()),
        ("mohd", {"Muhammad Usman"}, {"محمد عثمان"}),
        ("Hasan", {"Hassan Raza"}, set()),
        ("OBrien", {"Sara O'Brien"}, set()),
        ("प्रिया", {"Priya प्रिया Sharma"}, set()),
        ("skin", {"Ayesha Khan"}, set()),
        ("dermatolgist", {"Ayesha Khan"}, set()),
        ("skin doctor in lahore", {"Ayesha Khan"}, set()),
        ("cardiologist", {"عائشہ صدیقی", "Muhammad Usman"}, set()),
        ("heart specialist lahor", {"Muhammad Usman"}, set()),
        ("دل", {"عائشہ صدیقی", "Muhammad Usman"}, set()),
        ("قلب کراچی", {"عائشہ صدیقی"}, set()),
        ("ماہر امراض دل", {"عائشہ صدیقی", "Muhammad Usman"}, set()),
        ("ayesha skin", {"Ayesha Khan"}, set()),
        ("kidney", {"Priya प्रिया Sharma"}, set()),
    ],
)
async def test_who_is_found_by_what(
    typed: str, first: set[str], also: set[str], database: Database, clinic: Tenant
) -> None:
    async with database.tenant(clinic.id) as connection:
        for name, facts in PEOPLE.items():
            await add_provider(connection, name, NOW, **facts)  # type: ignore[arg-type]
        found = await names(connection, clinic, Wanted(typed))
    assert set(found[: len(first)]) == first
    assert also <= set(found)


@pytest.mark.parametrize(
    "typed",
    [
        "zqxwvk",
        "ayesha dentist",
        "skin karachi",
        "ayesha zqxwvk",
        "12",
        "سگچپ",
        "''",
        "a:*",
        "!",
        "\\",
        "& |",
        "khan')",
    ],
)
async def test_what_nobody_is_called_finds_nobody(typed: str, database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        await add_provider(connection, "Ayesha Malik", NOW, specialties=["dermatology"], at=LAHORE)
        found = await names(connection, clinic, Wanted(typed))
    assert found == (["Ayesha Malik"] if typed in ("''", "!", "\\", "& |") else [])


async def test_whole_words_come_before_begun_and_begun_before_mended(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        await add_provider(connection, "Sana Mirzai", NOW, stars=[5] * 50)
        await add_provider(connection, "Sana Mirza", NOW, stars=[1])
        await add_provider(connection, "Sana Murza", NOW, stars=[5] * 50)
        page = await find(connection, clinic.id, Wanted("mirza"), cursor=None, limit=10, now=NOW)
        assert await names(connection, clinic, Wanted("mirza")) == ["Sana Mirza", "Sana Mirzai", "Sana Murza"]
    assert [each.tier for each in page.found] == [0, 1, 2]
    assert page.mended


async def test_other_spellings_are_not_tried_when_enough_is_found(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        for _ in range(5):
            await add_provider(connection, "Bilal Mirza", NOW)
        await add_provider(connection, "Bilal Murza", NOW)
        page = await find(connection, clinic.id, Wanted("mirza"), cursor=None, limit=10, now=NOW)
    assert len(page.found) == 5
    assert not page.mended


FILTERED: dict[str, dict[str, object]] = {
    "A": {
        "specialties": ["dermatology"],
        "languages": ["ur", "en-GB"],
        "price_minor": 50_000,
        "stars": [5, 5],
        "at": LAHORE,
    },
    "B": {
        "specialties": ["dermatology"],
        "gender": "male",
        "price_minor": 150_000,
        "stars": [3],
        "at": KARACHI,
        "online": True,
    },
    "C": {"specialties": ["cardiology"], "kind": "class", "free_in": timedelta(hours=2), "stars": [4] * 40},
    "D": {"specialties": ["cardiology", "dermatology"], "price_minor": None, "free_in": None, "gender": None},
}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["A", "C", "D", "B"]),
        (Wanted(facets=("s:dermatology",)), ["A", "D", "B"]),
        (Wanted(facets=("s:dermatology", "s:cardiology")), ["D"]),
        (Wanted(facets=("l:en",)), ["A", "C", "D", "B"]),
        (Wanted(facets=("l:ur",)), ["A"]),
        (Wanted(facets=("g:male",)), ["B"]),
        (Wanted(facets=("k:class",)), ["C"]),
        (Wanted(price_max_minor=100_000), ["A", "C"]),
        (Wanted(price_max_minor=100_000, currency="AED"), []),
        (Wanted(rating_min=4.0), ["A", "C"]),
        (Wanted(rating_min=4.5), ["A"]),
        (Wanted(free_before=NOW + timedelta(hours=3)), ["C"]),
        (Wanted(online=True), ["B"]),
        (Wanted(near=LAHORE, radius_km=20), ["A"]),
        (Wanted(near=LAHORE, radius_km=2000), ["A", "B"]),
        (Wanted(near=LAHORE, sort="distance"), ["A", "B"]),
        (Wanted(near=KARACHI, sort="distance"), ["B", "A"]),
        (Wanted(sort="price"), ["A", "C", "B"]),
        (Wanted(sort="soonest"), ["C", "A", "B"]),
        (Wanted(sort="rating", facets=("s:cardiology",)), ["C", "D"]),
        (Wanted("derma", sort="price"), ["A", "B"]),
        (Wanted(facets=("s:dermatology", "g:male"), near=LAHORE, radius_km=5), []),
    ],
)
async def test_filters_and_orders(wanted: Wanted, found: list[str], database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        for name, facts in FILTERED.items():
            await add_provider(connection, name, NOW, **facts)  # type: ignore[arg-type]
        assert await names(connection, clinic, wanted) == found


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted("khan"),
        Wanted("kahn"),
        Wanted("khan", sort="price"),
        Wanted(sort="soonest"),
        Wanted(sort="price"),
        Wanted(near=LAHORE, sort="distance"),
        Wanted(near=LAHORE, radius_km=10, sort="distance"),
    ],
    ids=str,
)
async def test_pages_show_everybody_once_whatever_their_size(
    wanted: Wanted, database: Database, clinic: Tenant
) -> None:
    async with database.tenant(clinic.id) as connection:
        for number in range(13):  # many of them equal in every order, at one address
            name = ("Ali Khan", "Ali Khanzada", "Ali Khaan")[number % 3] if number < 12 else "Kahn Ali"
            await add_provider(connection, name, NOW, at=LAHORE, stars=[4] if number % 2 else [])
        whole = await find(connection, clinic.id, wanted, cursor=None, limit=50, now=NOW)
        assert whole.cursor is None
        for size in (1, 2, 4, 5, 13):
            seen = []
            cursor = None
            while True:
                page = await find(connection, clinic.id, wanted, cursor=cursor, limit=size, now=NOW)
                seen += page.found
                assert len(page.found) == size or page.cursor is None
                if (cursor := page.cursor) is None:
                    break
            assert [each.no for each in seen] == [each.no for each in whole.found]


async def test_a_page_goes_on_where_it_was_although_others_come_and_go(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        for number in range(6):
            await add_provider(connection, f"Doctor {number}", NOW, price_minor=1000 * (number + 1))
        first = await find(connection, clinic.id, Wanted(sort="price"), cursor=None, limit=3, now=NOW)
        await add_provider(connection, "Cheap", NOW, price_minor=1)
        await connection.execute("DELETE FROM provider_search WHERE provider_id = $1", first.found[0].provider_id)
        second = await find(connection, clinic.id, Wanted(sort="price"), cursor=first.cursor, limit=3, now=NOW)
    assert [each.key for each in second.found] == [4000, 5000, 6000]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "WzksMSwxLDFd", "WzAsMWU5OSwxLDFd", "WzAsMSwtMSwxXQ", "W10"])
async def test_a_forged_cursor_is_refused(cursor: str, database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        with pytest.raises(Problem) as refused:
            await find(connection, clinic.id, Wanted(), cursor=cursor, limit=5, now=NOW)
    assert (refused.value.status, refused.value.code) == (400, "bad_cursor")


async def test_a_cursor_of_another_order_or_of_the_far_end_breaks_nothing(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        for _ in range(3):
            await add_provider(connection, "Ali", NOW, at=LAHORE)
        for cursor in ("WzAsOWUxMiwxLDFd", "WzAsLTllMTIsMSwxXQ", "WzIsMCwxLDFd"):  # keys 9e12, -9e12; tier 2
            for sort in ("relevance", "price", "soonest", "distance"):
                await find(
                    connection, clinic.id, Wanted("ali", sort=sort, near=LAHORE), cursor=cursor, limit=5, now=NOW
                )


@pytest.mark.parametrize("status", ["applied", "review", "rejected", "suspended"])
async def test_only_the_approved_are_found(status: str, database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        provider = await add_provider(connection, "Ayesha Khan", NOW, status=status)
        assert await names(connection, clinic, Wanted("ayesha")) == []
        await connection.execute("UPDATE provider SET status = 'approved' WHERE id = $1", provider)
        assert await reindex(connection, provider, NOW)
        assert await names(connection, clinic, Wanted("ayesha")) == ["Ayesha Khan"]


async def test_a_licence_that_runs_out_hides_at_that_instant(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        await add_provider(connection, "Ayesha Khan", NOW, licensed_for=timedelta(days=10))
        for after, found in ((timedelta(days=10, seconds=-1), ["Ayesha Khan"]), (timedelta(days=10), [])):
            assert await names(connection, clinic, Wanted("ayesha"), NOW + after) == found
            assert await names(connection, clinic, Wanted(), NOW + after) == found


async def test_a_licence_without_end_never_hides(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        await add_provider(connection, "Ayesha Khan", NOW, licensed_for=None)
        assert await names(connection, clinic, Wanted(), NOW + timedelta(days=30_000)) == ["Ayesha Khan"]


async def test_clinics_find_their_own_only(database: Database, clinic: Tenant) -> None:
    other = await add_clinic(database, "clifton")
    async with database.tenant(clinic.id) as connection:
        await add_provider(connection, "Ayesha Khan", NOW, at=LAHORE, online=True, specialties=["urology"])
    async with database.tenant(other.id) as connection:
        await add_provider(connection, "Aysha Kahn", NOW, at=LAHORE, online=True, specialties=["urology"])
        for wanted in (
            Wanted(),
            Wanted("ayesha khan"),
            Wanted("عائشہ"),
            Wanted(facets=("s:urology",)),
            Wanted(online=True),
            Wanted(near=LAHORE, sort="distance"),
            Wanted(near=LAHORE, radius_km=100),
            Wanted(sort="soonest"),
            Wanted(sort="price"),
        ):
            assert await names(connection, other, wanted) == ["Aysha Kahn"]
        # a tenant number that is not the session's gets nobody, whatever is asked
        assert (await find(connection, clinic.id, Wanted("ayesha"), cursor=None, limit=5, now=NOW)).found == []
        assert await connection.fetchval("SELECT count(*) FROM search_feature WHERE word = 'ayesha'") == 0


async def test_the_platform_may_not_call_the_function_that_goes_round_row_security(database: Database) -> None:
    async with database.platform() as connection:
        allowed = await connection.fetch(
            """
            SELECT grantee::regrole::text FROM pg_proc, aclexplode(proacl)
            WHERE proname = 'search_providers' AND privilege_type = 'EXECUTE' AND grantee <> proowner"""
        )
    assert [row[0] for row in allowed] == ["wadud_app"]


async def test_a_review_moves_the_provider_at_once(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        provider = await add_provider(connection, "A", NOW, stars=[3])
        await add_provider(connection, "B", NOW, stars=[4])
        await connection.execute("UPDATE provider SET rating_sum = 50, rating_count = 10 WHERE id = $1", provider)
        assert await names(connection, clinic, Wanted(sort="rating")) == ["A", "B"]


async def test_one_lucky_review_does_not_lead(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        await add_provider(connection, "Lucky", NOW, stars=[5])
        await add_provider(connection, "Proven", NOW, stars=[5, 5, 4] * 20)
        assert await names(connection, clinic, Wanted(sort="rating")) == ["Proven", "Lucky"]


async def test_words_of_those_who_left_are_forgotten(database: Database, clinic: Tenant) -> None:
    async with database.tenant(clinic.id) as connection:
        stays = await add_provider(connection, "Ayesha Khan", NOW)
        leaves = await add_provider(connection, "Ayesha Zubairi", NOW)
        assert stays
        await connection.execute("UPDATE provider SET status = 'suspended' WHERE id = $1", leaves)
        await reindex(connection, leaves, NOW)
        assert await forget_unused_words(connection) > 0
        left = await connection.fetch("SELECT DISTINCT word FROM search_feature ORDER BY word")
        assert [row["word"] for row in left] == ["ayesha", "khan"]
        assert await forget_unused_words(connection) == 0
