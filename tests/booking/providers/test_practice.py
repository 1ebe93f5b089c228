"""What providers run themselves: services and their prices in search, profiles, being online, and whose they are."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backplane.postgres import Database
from tests.support.providers import Clock, Who, add_clinic, add_person, add_provider, served

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
SERVICE = {"name": "Skin check", "kind": "video", "minutes": 20, "price_minor": 250_000, "currency": "PKR"}


class Practice:
    """A listed doctor without services, and others of the clinic and of another one."""

    def __init__(self, database: Database, doctor: Who, others: dict[str, Who], provider: UUID, clock: Clock) -> None:
        self.database = database
        self.doctor = doctor
        self.others = others
        self.provider = provider
        self.clock = clock

    async def card(self) -> Any:
        page = await self.others["patient"].get("/v1/providers?q=ayesha")
        return page["items"][0]

    async def events(self) -> int:
        async with self.database.platform() as connection:
            count: int = await connection.fetchval("SELECT count(*) FROM outbox WHERE type = 'availability.changed'")
        return count


@pytest.fixture
async def practice(database: Database, tmp_path: Path) -> AsyncIterator[Practice]:
    clock = Clock(NOW)
    clinic, other = await add_clinic(database), await add_clinic(database, "clifton")
    async with database.tenant(clinic.id) as connection:
        person = await add_person(connection, "Ayesha", NOW)
        provider = await add_provider(connection, "Ayesha Khan", NOW, price_minor=None, person=person, slug="dr-ayesha")
    async with served(database, clock, tmp_path) as client:
        roles = ("patient", "doctor", "staff", "clinic_admin", "platform_admin", "anonymous")
        others = {role: Who(client, uuid4(), clinic.id, role) for role in roles}
        others["namesake"] = Who(client, person, other.id, "doctor", "clinic_admin")
        others["stranger"] = Who(client, uuid4(), clinic.id)
        yield Practice(database, Who(client, person, clinic.id, "doctor"), others, provider, clock)


async def test_the_cheapest_offered_service_is_the_price_in_search(practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}/services"
    assert (await practice.card())["price_from"] is None
    dear = await practice.doctor.send("POST", at, SERVICE, 201)
    assert (await practice.card())["price_from"] == {"amount_minor": 250_000, "currency": "PKR"}
    cheap = await practice.doctor.send("POST", at, {**SERVICE, "kind": "audio", "price_minor": 90_000}, 201)
    card = await practice.card()
    assert (card["price_from"]["amount_minor"], sorted(card["kinds"])) == (90_000, ["audio", "video"])
    await practice.doctor.send("PATCH", f"/v1/services/{cheap['id']}", {"price_minor": 80_000})
    assert (await practice.card())["price_from"]["amount_minor"] == 80_000
    await practice.doctor.send("DELETE", f"/v1/services/{cheap['id']}", status=204)
    card = await practice.card()
    assert (card["price_from"]["amount_minor"], card["kinds"]) == (250_000, ["video"])
    await practice.doctor.send("PATCH", f"/v1/services/{dear['id']}", {"active": False})
    assert (await practice.card())["price_from"] is None
    assert [each["active"] for each in await practice.doctor.get(at)] == [False, False]
    assert await practice.events() == 5


async def test_a_service_keeps_everything_it_was_given(practice: Practice) -> None:
    given = {
        **SERVICE, "kind": "class", "capacity": 12, "step_minutes": 30, "buffer_before_minutes": 5,
        "buffer_after_minutes": 10, "notice_minutes": 120, "horizon_days": 14, "auto_confirm": False,
    }  # fmt: skip
    service = await practice.doctor.send("POST", f"/v1/providers/{practice.provider}/services", given, 201)
    assert {name: service[name] for name in given} == given
    assert (await practice.doctor.get(f"/v1/providers/{practice.provider}/services")) == [service]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"capacity": 2}, "capacity_of_class_only"),
        ({"currency": "QQQ"}, "unknown_currency"),
        ({"currency": "pkr"}, "bad_request"),
        ({"price_minor": -1}, "bad_request"),
        ({"price_minor": 1.5}, "bad_request"),
        ({"minutes": 4}, "bad_request"),
        ({"location": "0190a1b2-0000-7000-8000-000000000001"}, "unknown_location"),
        ({"colour": "red"}, "bad_request"),
        ({"name": " "}, "bad_request"),
    ],
)
async def test_services_that_are_refused(change: dict[str, Any], code: str, practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}/services"
    assert (await practice.doctor.send("POST", at, {**SERVICE, **change}, 422))["code"] == code
    assert await practice.doctor.get(at) == []
    assert (await practice.card())["price_from"] is None


async def test_prices_of_one_provider_have_one_currency(practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}/services"
    first = await practice.doctor.send("POST", at, SERVICE, 201)
    assert (await practice.doctor.send("POST", at, {**SERVICE, "currency": "AED"}, 422))["code"] == "one_currency"
    await practice.doctor.send("PATCH", f"/v1/services/{first['id']}", {"currency": "AED"})


async def test_two_currencies_at_once_leave_one(practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}/services"

    async def add(currency: str) -> int:
        async with practice.doctor.ask("POST", at, json={**SERVICE, "currency": currency}) as response:
            return int(response.status)

    answers = await asyncio.gather(*(add(currency) for currency in ("PKR", "AED") * 4))
    services = await practice.doctor.get(at)
    assert len({each["currency"] for each in services}) == 1
    assert answers.count(201) == len(services)


@pytest.mark.parametrize("who", ["patient", "doctor", "staff", "platform_admin", "anonymous", "namesake", "stranger"])
async def test_others_may_not_even_know(who: str, practice: Practice) -> None:
    service = await practice.doctor.send("POST", f"/v1/providers/{practice.provider}/services", SERVICE, 201)
    other = practice.others[who]
    at = f"/v1/providers/{practice.provider}"
    await other.send("POST", f"{at}/services", SERVICE, 404)
    await other.send("GET", f"{at}/services", status=404)
    await other.send("GET", f"{at}/profile", status=404)
    await other.send("PATCH", at, {"bio": "x"}, 404)
    await other.send("PUT", f"{at}/online", {}, 404)
    await other.send("DELETE", f"{at}/online", status=404)
    await other.send("PATCH", f"/v1/services/{service['id']}", {"price_minor": 1}, 404)
    await other.send("DELETE", f"/v1/services/{service['id']}", status=404)
    assert (await practice.card())["price_from"]["amount_minor"] == 250_000


async def test_a_visitor_without_a_session_is_asked_to_sign_in(practice: Practice) -> None:
    nobody = {"X-Clinic": str(practice.doctor.tenant)}
    for method, path in (
        ("GET", f"/v1/providers/{practice.provider}/services"),
        ("PATCH", f"/v1/providers/{practice.provider}"),
        ("DELETE", f"/v1/services/{uuid4()}"),
        ("GET", "/v1/providers/applications/mine"),
    ):
        async with practice.doctor.client.request(method, path, headers=nobody, json={}) as response:
            assert response.status == 401


async def test_the_clinic_manages_its_doctors_but_does_not_say_that_they_are_there(practice: Practice) -> None:
    admin = practice.others["clinic_admin"]
    at = f"/v1/providers/{practice.provider}"
    await admin.send("POST", f"{at}/services", SERVICE, 201)
    assert (await admin.send("PATCH", at, {"title": "Prof."}))["title"] == "Prof."
    await admin.send("PUT", f"{at}/online", {}, 404)
    async with practice.database.platform() as connection:
        rows = await connection.fetch("SELECT action, actor_role FROM audit_entry ORDER BY id")
    assert [tuple(row) for row in rows] == [("service.added", "clinic_admin"), ("provider.changed", "clinic_admin")]


async def test_search_knows_a_changed_profile_at_once(practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}"
    change = {"display_name": "  Zubaida   Qureshi ", "specialties": ["urology"], "languages": ["ps"], "gender": None}
    profile = await practice.others["clinic_admin"].send("PATCH", at, change)
    assert (profile["display_name"], profile["gender"], profile["listed"]) == ("Zubaida Qureshi", None, True)
    patient = practice.others["patient"]
    assert (await patient.get("/v1/providers?q=khan"))["items"] == []
    assert len((await patient.get("/v1/providers?q=قریشی&specialty=urology&language=ps"))["items"]) == 1
    assert (await practice.doctor.send("PATCH", at, {}))["specialties"] == ["urology"]


async def test_a_verified_name_is_not_the_doctors_to_change(practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}"
    refusal = await practice.doctor.send("PATCH", at, {"display_name": "Somebody Famous", "bio": "new"}, 409)
    assert refusal["code"] == "name_verified"
    profile = await practice.doctor.send("PATCH", at, {"display_name": "Ayesha  Khan", "bio": "new"})
    assert (profile["display_name"], profile["bio"]) == ("Ayesha Khan", "new")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"specialties": ["phrenology"]}, "unknown_specialty"),
        ({"timezone": "Mars/Olympus"}, "unknown_timezone"),
        ({"location": "0190a1b2-0000-7000-8000-000000000001"}, "unknown_location"),
        ({"status": "approved"}, "bad_request"),
        ({"bio": "a\0b"}, "bad_request"),
        ({"display_name": "a\0b"}, "bad_request"),
        ({"languages": ["<b>"]}, "bad_request"),
    ],
)
async def test_profiles_that_are_refused(change: dict[str, Any], code: str, practice: Practice) -> None:
    answer = await practice.doctor.send("PATCH", f"/v1/providers/{practice.provider}", change, 422)
    assert answer["code"] == code


async def test_online_ends_by_itself(practice: Practice) -> None:
    at = f"/v1/providers/{practice.provider}/online"
    await practice.doctor.send("PUT", at, {"minutes": 30})
    assert (await practice.card())["online"]
    patient = practice.others["patient"]
    assert len((await patient.get("/v1/providers?online=true"))["items"]) == 1
    practice.clock.now = NOW + timedelta(minutes=30)
    assert (await patient.get("/v1/providers?online=true"))["items"] == []
    assert not (await practice.card())["online"]
    practice.clock.now = NOW
    await practice.doctor.send("DELETE", at, status=204)
    assert not (await practice.card())["online"]
