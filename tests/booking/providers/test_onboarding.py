"""Onboarding over HTTP on a real Postgres: the way of an application, who may do what, and what every step leaves."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from backplane.postgres import Database
from booking.providers.registry import LocalRegistry
from booking.virus import Clamd
from tests.support.clamd import EICAR, FakeClamd, fake_clamd
from tests.support.providers import Client, Clock, Who, add_clinic, add_person, served

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
END = NOW + timedelta(days=365)
PDF = b"%PDF-1.7\n%a licence\n"
PROFILE = {
    "display_name": "Ayesha Khan",
    "title": "Dr",
    "gender": "female",
    "languages": ["en", "ur"],
    "specialties": ["dermatology"],
}
LICENCE = {"kind": "licence", "country": "PK", "issuer": "PMDC", "number": "12345-p", "expires_at": END.isoformat()}
SERVICE = {"name": "Skin check", "kind": "video", "minutes": 20, "price_minor": 250_000, "currency": "PKR"}
PLATFORM = 1


class Stage:
    """A clinic with an applicant, another patient, an administrator and a reviewer of the platform."""

    def __init__(self, client: Client, database: Database, clock: Clock, clamd: FakeClamd, tenant: int) -> None:
        self.client = client
        self.database = database
        self.clock = clock
        self.clamd = clamd
        self.tenant = tenant

    async def somebody(self, *roles: str, tenant: int | None = None) -> Who:
        number = self.tenant if tenant is None else tenant
        async with self.database.tenant(number) as connection:
            person = await add_person(connection, "somebody", NOW)
        return Who(self.client, person, number, *roles)

    async def events(self) -> list[str]:
        async with self.database.platform() as connection:
            rows = await connection.fetch("SELECT type FROM outbox WHERE type LIKE 'doctor.%' ORDER BY id")
        return [row["type"] for row in rows]

    async def audited(self) -> list[str]:
        async with self.database.platform() as connection:
            rows = await connection.fetch("SELECT action FROM audit_entry ORDER BY id")
        return [row["action"] for row in rows]

    async def found(self, name: str = "ayesha") -> list[str]:
        page = await Who(self.client, self.somebody_id, self.tenant).get(f"/v1/providers?q={name}")
        return [each["name"] for each in page["items"]]

    somebody_id: Any = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def stage(database: Database, clock: Clock, tmp_path: Path) -> AsyncIterator[Stage]:
    clinic = await add_clinic(database)
    registry = LocalRegistry({("PK", "12345-P"): ("ڈاکٹر عائشہ خان", END)})
    async with (
        fake_clamd() as clamd,
        served(database, clock, tmp_path, scanner=Clamd(port=clamd.port), registry=registry) as client,
    ):
        yield Stage(client, database, clock, clamd, clinic.id)


async def upload(who: Who, provider: str, kind: str, content: bytes = PDF, status: int = 201) -> Any:
    path = f"/v1/providers/{provider}/documents?kind={kind}"
    async with who.ask("POST", path, data=content, headers={"Content-Type": "application/octet-stream"}) as response:
        assert response.status == status, await response.text()
        return await response.json(content_type=None)


async def applied(stage: Stage) -> tuple[Who, str]:
    doctor = await stage.somebody("patient")
    application = await doctor.send("POST", "/v1/providers/applications", PROFILE, 201)
    return doctor, application["provider"]


async def handed_in(stage: Stage) -> tuple[Who, str]:
    doctor, provider = await applied(stage)
    licence = await upload(doctor, provider, "licence")
    await upload(doctor, provider, "identity")
    await doctor.send("POST", f"/v1/providers/{provider}/credentials", {**LICENCE, "document": licence["id"]}, 201)
    await doctor.send("POST", "/v1/providers/applications/mine/submit")
    return doctor, provider


async def approved(stage: Stage) -> tuple[Who, str, Who]:
    doctor, provider = await handed_in(stage)
    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    await reviewer.send("POST", f"/v1/providers/applications/{provider}/approve", {})
    return doctor, provider, reviewer


def missing(application: Any) -> set[str]:
    return {each["item"] for each in application["checklist"] if each["required"] and not each["done"]}


async def test_the_way_of_an_application(stage: Stage) -> None:
    doctor, provider = await applied(stage)
    application = await doctor.get("/v1/providers/applications/mine")
    assert (application["status"], application["waiting_for"]) == ("applied", "applicant")
    assert missing(application) == {"licence", "licence_document", "identity_document"}
    refusal = await doctor.send("POST", "/v1/providers/applications/mine/submit", status=409)
    assert refusal["code"] == "incomplete"
    assert "licence_document" in refusal["detail"]

    licence = await upload(doctor, provider, "licence")
    assert (licence["media_type"], licence["scan"], licence["bytes"]) == ("application/pdf", "clean", len(PDF))
    await upload(doctor, provider, "identity")
    await doctor.send("POST", f"/v1/providers/{provider}/credentials", {**LICENCE, "document": licence["id"]}, 201)
    application = await doctor.send("POST", "/v1/providers/applications/mine/submit")
    assert (application["status"], application["waiting_for"]) == ("review", "reviewer")
    assert application["credentials"][0]["registry"] == "found"
    assert missing(application) == set()

    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    (waiting,) = (await reviewer.get("/v1/providers/applications"))["items"]
    assert (waiting["provider"], waiting["tenant"]) == (provider, stage.tenant)
    at = f"/v1/providers/applications/{provider}"
    assert (await reviewer.send("POST", f"{at}/assign", {}))["reviewer"] == str(reviewer.person)
    await reviewer.send("POST", f"{at}/notes", {"text": "photo is blurred"})
    await reviewer.send("POST", f"{at}/ask", {"text": "Please send a sharper copy."})
    application = await doctor.get("/v1/providers/applications/mine")
    assert application["waiting_for"] == "applicant"
    assert [each["note"] for each in application["steps"] if each["note"]] == ["Please send a sharper copy."]
    assert await stage.found() == []

    stage.clock.now += timedelta(hours=30)
    await doctor.send("POST", "/v1/providers/applications/mine/submit")
    seen = await reviewer.send("POST", f"{at}/approve", {"text": "Welcome."})
    assert seen["application"]["status"] == "approved"
    assert seen["application"]["credentials"][0]["state"] == "verified"
    assert await stage.found() == ["Ayesha Khan"]
    assert await stage.events() == ["doctor.applied", "doctor.verified"]
    assert await stage.audited() == [
        f"application.{step}"
        for step in ("applied", "submitted", "assigned", "noted", "asked", "submitted", "approved")
    ]
    statistics = await reviewer.get("/v1/providers/applications/statistics")
    assert (statistics["approved"], statistics["median_hours"], statistics["in_time"]) == (1, 30.0, 1.0)
    async with stage.database.tenant(stage.tenant) as connection:
        role = await connection.fetchval("SELECT role FROM membership WHERE person_id = $1", doctor.person)
    assert role == "doctor"


async def test_a_reviewer_sees_the_files_and_that_is_audited(stage: Stage) -> None:
    doctor, provider = await handed_in(stage)
    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    seen = await reviewer.get(f"/v1/providers/applications/{provider}")
    document = seen["application"]["documents"][0]["id"]
    async with reviewer.ask("GET", f"/v1/providers/applications/{provider}/documents/{document}") as response:
        assert await response.read() == PDF
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in response.headers["Content-Security-Policy"]
    async with doctor.ask("GET", f"/v1/documents/{document}") as response:
        assert await response.read() == PDF
    assert (await stage.audited()).count("document.read") == 1


async def test_nobody_else_reads_a_file(stage: Stage) -> None:
    doctor, provider = await handed_in(stage)
    document = (await doctor.get("/v1/providers/applications/mine"))["documents"][0]["id"]
    other = await add_clinic(stage.database, "clifton")
    for who in (
        await stage.somebody("patient"),
        await stage.somebody("doctor"),
        await stage.somebody("clinic_admin"),
        await stage.somebody("platform_admin", tenant=other.id),
        Who(stage.client, doctor.person, other.id, "patient"),
    ):
        await who.send("GET", f"/v1/documents/{document}", status=404)
        await who.send("DELETE", f"/v1/documents/{document}", status=404)
    await doctor.send("DELETE", f"/v1/documents/{document}", status=409)  # a decision rests on it
    async with stage.client.get(f"/v1/documents/{document}", headers={"X-Clinic": str(stage.tenant)}) as response:
        assert response.status == 401
    assert provider


async def test_a_file_can_be_deleted_before_it_was_handed_in(stage: Stage) -> None:
    doctor, provider = await applied(stage)
    document = await upload(doctor, provider, "licence")
    await doctor.send("DELETE", f"/v1/documents/{document['id']}", status=204)
    await doctor.send("GET", f"/v1/documents/{document['id']}", status=404)
    assert "licence_document" in missing(await doctor.get("/v1/providers/applications/mine"))


async def test_files_arrive_as_a_form_too(stage: Stage) -> None:
    doctor, provider = await applied(stage)
    form = FormData()
    form.add_field("note", "scanned today")
    form.add_field("file", PDF, filename="../../licence.html", content_type="text/html")
    async with doctor.ask("POST", f"/v1/providers/{provider}/documents?kind=licence", data=form) as response:
        assert response.status == 201
        assert (await response.json())["media_type"] == "application/pdf"
    empty = FormData()
    empty.add_field("note", "forgot the file", content_type="text/plain")
    empty.add_field("note", "really")
    async with doctor.ask("POST", f"/v1/providers/{provider}/documents?kind=licence", data=empty) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (400, "no_file")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "empty_document"),
        (b"<html>", 415, "unsupported_document"),
        (PDF + EICAR, 422, "infected_document"),
        (PDF + bytes(10 * 1024 * 1024), 413, "document_too_large"),
    ],
)
async def test_files_that_are_refused(content: bytes, status: int, code: str, stage: Stage) -> None:
    doctor, provider = await applied(stage)
    assert (await upload(doctor, provider, "licence", content, status))["code"] == code


async def test_without_its_scanner_nothing_is_taken(stage: Stage) -> None:
    doctor, provider = await applied(stage)
    stage.clamd.answer = b""
    assert (await upload(doctor, provider, "licence", status=503))["code"] == "scanner_unavailable"


@pytest.mark.parametrize("role", ["patient", "doctor", "staff", "clinic_admin", "finance", "support", "anonymous"])
async def test_only_reviewers_review(role: str, stage: Stage) -> None:
    _, provider = await handed_in(stage)
    who = await stage.somebody(role)
    at = f"/v1/providers/applications/{provider}"
    for path, body in (("approve", {}), ("reject", {"text": "x"}), ("suspend", {"text": "x"}), ("assign", {})):
        await who.send("POST", f"{at}/{path}", body, 403)
    await who.send("GET", at, status=403)
    await who.send("GET", "/v1/providers/applications", status=403)


async def test_nobody_reviews_themselves(stage: Stage) -> None:
    doctor, provider = await handed_in(stage)
    both = Who(stage.client, doctor.person, stage.tenant, "patient", "platform_admin")
    refusal = await both.send("POST", f"/v1/providers/applications/{provider}/approve", {}, 403)
    assert refusal["code"] == "own_application"
    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    body = {"reviewer": str(doctor.person)}
    await reviewer.send("POST", f"/v1/providers/applications/{provider}/assign", body, 403)


async def test_a_reviewer_at_a_clinic_sees_that_clinic_only(stage: Stage) -> None:
    _, provider = await handed_in(stage)
    other = await add_clinic(stage.database, "clifton")
    there = await stage.somebody("platform_admin", tenant=other.id)
    assert (await there.get("/v1/providers/applications"))["items"] == []
    await there.send("GET", f"/v1/providers/applications/{provider}", status=404)
    await there.send("POST", f"/v1/providers/applications/{provider}/approve", {}, 404)
    here = await stage.somebody("platform_admin")
    assert len((await here.get("/v1/providers/applications"))["items"]) == 1


async def test_the_list_of_applications_has_pages(stage: Stage) -> None:
    made = []
    for _ in range(3):
        _, provider = await applied(stage)
        made.append(provider)
        stage.clock.now += timedelta(microseconds=1)
    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await reviewer.get(f"/v1/providers/applications?status=applied&limit=1{cursor}")
        seen += [each["provider"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == made
    await reviewer.send("GET", "/v1/providers/applications?cursor=WzEsMl0", status=400)


async def test_steps_have_their_order(stage: Stage) -> None:
    _, provider = await applied(stage)
    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    at = f"/v1/providers/applications/{provider}"
    for path, body in (("approve", {}), ("ask", {"text": "x"}), ("suspend", {"text": "x"}), ("reinstate", {})):
        assert (await reviewer.send("POST", f"{at}/{path}", body, 409))["code"] == "wrong_step"


async def test_who_was_rejected_may_apply_again(stage: Stage) -> None:
    doctor, provider = await handed_in(stage)
    await doctor.send("POST", "/v1/providers/applications", PROFILE, 409)
    reviewer = await stage.somebody("platform_admin", tenant=PLATFORM)
    await reviewer.send("POST", f"/v1/providers/applications/{provider}/reject", {"text": "The licence is not yours."})
    application = await doctor.get("/v1/providers/applications/mine")
    assert application["steps"][-1]["note"] == "The licence is not yours."
    application = await doctor.send(
        "POST", "/v1/providers/applications", {**PROFILE, "display_name": "Aisha Khan"}, 201
    )
    assert (application["provider"], application["status"]) == (provider, "applied")
    await doctor.send("POST", "/v1/providers/applications/mine/submit")


async def test_suspending_hides_at_once_and_reinstating_shows_again(stage: Stage) -> None:
    doctor, provider, reviewer = await approved(stage)
    at = f"/v1/providers/applications/{provider}"
    await doctor.send("PUT", f"/v1/providers/{provider}/online", {"minutes": 30})
    await reviewer.send("POST", f"{at}/suspend", {"text": "A complaint is looked into."})
    assert await stage.found() == []
    profile = await doctor.get(f"/v1/providers/{provider}/profile")
    assert (profile["status"], profile["online_until"], profile["listed"]) == ("suspended", None, False)
    await doctor.send("PUT", f"/v1/providers/{provider}/online", {}, 409)
    await reviewer.send("POST", f"{at}/reinstate", {})
    assert await stage.found() == ["Ayesha Khan"]
    assert await stage.events() == ["doctor.applied", "doctor.verified", "doctor.suspended", "doctor.verified"]


async def test_a_licence_has_one_holder(stage: Stage) -> None:
    await approved(stage)
    _, provider = await applied(stage)
    thief, _ = await stage.somebody("patient"), provider
    other = (await thief.send("POST", "/v1/providers/applications", PROFILE, 201))["provider"]
    assert (await thief.send("POST", f"/v1/providers/{other}/credentials", LICENCE, 409))["code"] == "licence_taken"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"number": ""}, "licence_incomplete"),
        ({"issuer": " "}, "licence_incomplete"),
        ({"expires_at": NOW.isoformat()}, "expired"),
        ({"expires_at": "2199-12-31T23:59:59-12:00"}, "bad_expiry"),
        ({"kind": "identity"}, "number_not_kept"),
        ({"document": "0190a1b2-0000-7000-8000-000000000001"}, "no_such_document"),
        ({"number": "<b>"}, "bad_request"),
    ],
)
async def test_papers_that_are_refused(change: dict[str, str], code: str, stage: Stage) -> None:
    doctor, provider = await applied(stage)
    answer = await doctor.send("POST", f"/v1/providers/{provider}/credentials", {**LICENCE, **change}, 422)
    assert answer["code"] == code


async def test_an_applicant_has_a_name_of_their_own_in_the_address(stage: Stage) -> None:
    _, one = await applied(stage)
    _, other = await applied(stage)
    async with stage.database.tenant(stage.tenant) as connection:
        slugs = {row["slug"] for row in await connection.fetch("SELECT slug FROM provider")}
    assert one != other
    assert "dr-ayesha-khan" in slugs
    assert len(slugs) == 2
