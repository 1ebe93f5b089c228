"""Discovery over HTTP: what a visitor sees, tags, pages, what is refused, and what a search engine is told."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backplane.postgres import Database
from tests.support.providers import Client, Clock, add_clinic, add_provider, served

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
LAHORE = (31.549, 74.344)


class Visitor:
    def __init__(self, client: Client, tenant: int) -> None:
        self._client = client
        self._tenant = str(tenant)

    def ask(self, path: str, **headers: str) -> Any:
        return self._client.get(path, headers={"X-Clinic": self._tenant, **headers})

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.ask(path) as response:
            assert response.status == status, await response.text()
            return await response.json(content_type=None)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def visitor(database: Database, clock: Clock, tmp_path: Path) -> AsyncIterator[Visitor]:
    clinic = await add_clinic(database)
    async with database.tenant(clinic.id) as connection:
        await add_provider(
            connection, "Ayesha Khan", NOW, specialties=["dermatology"], at=LAHORE, stars=[5, 4], slug="dr-ayesha-khan"
        )
        await add_provider(connection, "Bilal Raza", NOW, gender="male", stars=[3], slug="dr-bilal-raza")
    async with served(database, clock, tmp_path) as client:
        yield Visitor(client, clinic.id)


async def test_a_card_says_what_a_visitor_chooses_by(visitor: Visitor) -> None:
    page = await visitor.get("/v1/providers?q=skin&near=31.5,74.3&locale=ur")
    (card,) = page["items"]
    assert card["name"] == "Ayesha Khan"
    assert card["specialties"] == [{"code": "dermatology", "name": "ماہر امراض جلد"}]
    assert card["price_from"] == {"amount_minor": 100_000, "currency": "PKR"}
    assert card["rating"] == {"average": 4.5, "count": 2}
    assert card["place"] == {"code": "pk-lahore", "name": "لاہور"}
    assert card["kinds"] == ["video"]
    assert card["next_free_at"] == "2026-05-05T09:00:00Z"
    assert 5 < card["distance_km"] < 8
    assert page["next"] is None
    assert not page["similar"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Ayesha Khan", "Bilal Raza"]),
        ("specialty=dermatology", ["Ayesha Khan"]),
        ("gender=male", ["Bilal Raza"]),
        ("language=en-GB", ["Ayesha Khan", "Bilal Raza"]),
        ("language=ur", []),
        ("place=pk-lahore", ["Ayesha Khan"]),
        ("place=pk-lahore&sort=distance", ["Ayesha Khan"]),
        ("rating_min=4", ["Ayesha Khan"]),
        ("price_max=100000&currency=PKR", ["Ayesha Khan", "Bilal Raza"]),
        ("price_max=99999", []),
        ("available_before=2026-05-06T00:00:00%2B05:00", ["Ayesha Khan", "Bilal Raza"]),
        ("available_before=2026-05-05T08:59:59Z", []),
        ("online=true", []),
        ("kind=in_person", []),
        ("q=bilaal", ["Bilal Raza"]),
    ],
)
async def test_filters_of_the_address(query: str, names: list[str], visitor: Visitor) -> None:
    page = await visitor.get(f"/v1/providers?{query}")
    assert [card["name"] for card in page["items"]] == names


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("cursor=nonsense", "bad_cursor"),
        ("sort=distance", "near_required"),
        ("specialty=phrenology", "unknown_specialty"),
        ("place=atlantis", "unknown_place"),
        ("near=91,0", "bad_request"),
        ("near=1", "bad_request"),
        ("limit=51", "bad_request"),
        ("available_before=2026-05-06T00:00:00", "bad_request"),
        ("available_before=0001-01-01T00:00:00%2B12:00", "bad_request"),
        ("nonsense=1", "bad_request"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_code(query: str, code: str, visitor: Visitor) -> None:
    answer = await visitor.get(f"/v1/providers?{query}", 400)
    assert answer["code"] == code


async def test_pages_go_on_with_the_cursor(visitor: Visitor) -> None:
    first = await visitor.get("/v1/providers?limit=1")
    second = await visitor.get(f"/v1/providers?limit=1&cursor={first['next']}")
    assert [first["items"][0]["name"], second["items"][0]["name"]] == ["Ayesha Khan", "Bilal Raza"]
    assert second["next"] is None


@pytest.mark.parametrize(
    "path", ["/v1/providers", "/v1/providers/dr-ayesha-khan", "/v1/specialties", "/v1/places?q=lah"]
)
async def test_reads_are_answered_304_while_nothing_changed(path: str, visitor: Visitor) -> None:
    async with visitor.ask(path) as first:
        assert first.status == 200
        tag = first.headers["ETag"]
    async with visitor.ask(path, **{"If-None-Match": tag}) as again:
        assert again.status == 304


async def test_a_profile_by_its_name_and_by_its_id(visitor: Visitor) -> None:
    by_name = await visitor.get("/v1/providers/dr-ayesha-khan")
    by_id = await visitor.get(f"/v1/providers/{by_name['card']['id']}")
    assert by_id == by_name
    assert by_name["services"][0]["minutes"] == 15
    assert by_name["licences"][0]["issuer"] == "PMDC"


async def test_a_search_engine_is_told_what_the_page_says(visitor: Visitor) -> None:
    seo = (await visitor.get("/v1/providers/dr-ayesha-khan"))["seo"]
    assert seo["title"] == "Ayesha Khan · Dermatologist · Lahore"
    assert seo["canonical"].endswith(".example/doctors/dr-ayesha-khan")
    said = json.loads(seo["json_ld"])
    assert (said["@type"], said["name"]) == ("Physician", "Ayesha Khan")
    assert said["aggregateRating"] == {
        "@type": "AggregateRating", "ratingValue": 4.5, "reviewCount": 2, "bestRating": 5, "worstRating": 1,
    }  # fmt: skip
    assert said["address"]["addressLocality"] == "Lahore"
    assert said["priceRange"] == "from PKR 1000"


async def test_no_name_ends_the_script_that_holds_it(visitor: Visitor, database: Database) -> None:
    async with database.platform() as connection:
        await connection.execute("UPDATE provider SET bio = '</script><script>alert(1)</script>' WHERE gender = 'male'")
    seo = (await visitor.get("/v1/providers/dr-bilal-raza"))["seo"]
    assert "<" not in seo["json_ld"]
    assert json.loads(seo["json_ld"])["description"].startswith("</script>")


@pytest.mark.parametrize("name", ["nobody", "0190a1b2-0000-7000-8000-000000000001", "a'b", "عائشہ"])
async def test_who_is_not_there_is_404(name: str, visitor: Visitor) -> None:
    assert (await visitor.get(f"/v1/providers/{name}", 404))["code"] == "no_such_provider"


async def test_a_profile_goes_when_the_licence_runs_out(visitor: Visitor, clock: Clock) -> None:
    clock.now = NOW + timedelta(days=365)
    await visitor.get("/v1/providers/dr-ayesha-khan", 404)


async def test_specialties_and_places_in_the_language_asked_for(visitor: Visitor) -> None:
    names = {each["code"]: each["name"] for each in await visitor.get("/v1/specialties?locale=ar")}
    assert names["cardiology"] == "أمراض القلب"
    (lahore,) = await visitor.get("/v1/places?q=lahor&locale=ur")
    assert (lahore["name"], lahore["timezone"]) == ("لاہور", "Asia/Karachi")
    assert {each["country"] for each in await visitor.get("/v1/places?country=QA")} == {"QA"}
    assert (await visitor.get("/v1/places?q=krachi"))[0]["code"] == "pk-karachi"
