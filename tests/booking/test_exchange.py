"""From a join link to a seat, over HTTP and on a real Postgres."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from backplane.postgres import Database
from booking.links.link import Seat
from booking.visits.visitors import ALIVE
from tests.booking.join_world import START, Browser, Clinic, another_provider, make_clinic, serving


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


async def look(browser: Browser, token: str) -> dict[str, object]:
    return await browser.ask("POST", "/v1/join/look", {"token": token})


async def click(browser: Browser, token: str, status: int = 200, **more: object) -> dict[str, object]:
    gesture = (await look(browser, token))["gesture"] or "none"
    body = {"token": token, "gesture": gesture, "bearer": True, **more}
    return await browser.ask("POST", "/v1/join/exchange", body, status=status)


async def test_a_link_shows_who_and_when_and_nothing_more(clinic: Clinic, browser: Browser) -> None:
    patient = await clinic.person("Sana Karim")
    appointment = await clinic.appointment(patient)
    await clinic.set(appointment, reason="canary reason")
    looked = await look(browser, await clinic.link(appointment))
    assert looked["state"] == "open"
    assert looked["doctor"] == "Dr Amina"
    assert looked["clinic"] == "Al-Shifa Clinic"
    assert looked["starts_at"] == "2026-11-21T10:00:00Z"
    assert "Sana" not in str(looked)
    assert "canary" not in str(looked)


async def test_a_click_gives_a_cookie_that_no_script_reads(clinic: Clinic, browser: Browser) -> None:
    token = await clinic.link(await clinic.appointment())
    gesture = (await look(browser, token))["gesture"]
    response = await browser.response("POST", "/v1/join/exchange", {"token": token, "gesture": gesture})
    assert response.status == 200
    answer = await response.json()
    assert (answer["state"], answer["bearer"]) == ("seated", None)
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    # the same device again is the same device
    assert (await click(browser, token))["state"] == "seated"
    assert await clinic.scalar("SELECT count(DISTINCT device) FROM visit_seat") == 1


async def test_scanners_spend_nothing(clinic: Clinic, browser: Browser) -> None:
    token = await clinic.link(await clinic.appointment())
    gesture = (await look(browser, token))["gesture"]
    good = {"token": token, "gesture": gesture}
    client = browser.client
    for method in ("GET", "HEAD"):
        for path in ("/v1/join/look", "/v1/join/exchange"):
            assert (await client.request(method, path, params={"token": token})).status == 405
    # an auto-posting form, as a scanner that runs a page's forms sends it: whatever encoding a form can have
    for form in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer = await client.post("/v1/join/exchange", data=b"{}", headers={"Content-Type": form})
        assert answer.status == 415
    # JSON, but without a page of ours or without the click's gesture
    assert (await client.post("/v1/join/exchange", json=good)).status == 403
    elsewhere = {"Origin": "https://scanner.example"}
    assert (await client.post("/v1/join/exchange", json=good, headers=elsewhere)).status == 403
    ours = {"Origin": browser.origin}
    made_up = {**good, "gesture": "A" * len(str(gesture))}
    assert (await client.post("/v1/join/exchange", json=made_up, headers=ours)).status == 403
    assert await clinic.scalar("SELECT count(*) FROM visit_seat") == 0
    # and the person who clicks after all of them is let in
    assert (await click(browser, token))["state"] == "seated"


async def test_a_link_works_again_and_again_inside_its_window(clinic: Clinic, browser: Browser) -> None:
    token = await clinic.link(await clinic.appointment())
    for minutes in (-30, 0, 79):
        clinic.now = START + timedelta(minutes=minutes)
        assert (await click(browser, token))["state"] == "seated"


async def test_who_is_early_is_told_when_to_come_and_who_is_late_that_it_is_over(
    clinic: Clinic, browser: Browser
) -> None:
    token = await clinic.link(await clinic.appointment())
    clinic.now = START - timedelta(minutes=31)
    early = await click(browser, token, 403)  # no gesture is given before its time
    looked = await look(browser, token)
    assert early["code"] == "not_a_click"
    assert (looked["state"], looked["gesture"]) == ("early", None)
    assert (looked["starts_at"], looked["opens_at"]) == ("2026-11-21T10:00:00Z", "2026-11-21T09:30:00Z")
    # a page that was opened in time and clicked too late
    clinic.now = START + timedelta(minutes=79)
    gesture = (await look(browser, token))["gesture"]
    clinic.now = START + timedelta(minutes=81)
    late = await browser.ask("POST", "/v1/join/exchange", {"token": token, "gesture": gesture})
    assert late["state"] == "over"
    assert await clinic.scalar("SELECT count(*) FROM visit_seat") == 0


async def test_a_moved_visit_kills_its_old_links(clinic: Clinic, browser: Browser) -> None:
    appointment = await clinic.appointment()
    token = await clinic.link(appointment)
    gesture = (await look(browser, token))["gesture"]
    await clinic.set(appointment, join_epoch=2)
    looked = await look(browser, token)
    assert (looked["state"], looked["starts_at"], looked["gesture"]) == ("replaced", None, None)
    assert (await browser.ask("POST", "/v1/join/exchange", {"token": token, "gesture": gesture}))["state"] == "replaced"
    assert (await click(browser, await clinic.link(appointment)))["state"] == "seated"


async def test_a_link_says_cancelled_only_when_the_visit_is(clinic: Clinic, browser: Browser) -> None:
    """Ottehr #1699: an invite link that said cancelled although the visit was on."""
    patient = await clinic.person()
    cancelled = await clinic.appointment(patient, status="cancelled_by_provider")
    for_now = await clinic.appointment(patient, start=START + timedelta(minutes=20))
    moved = await clinic.link(for_now)
    await clinic.set(for_now, join_epoch=2)
    assert (await look(browser, await clinic.link(cancelled)))["state"] == "cancelled"
    assert (await look(browser, moved))["state"] == "replaced"
    assert (await look(browser, await clinic.link(for_now)))["state"] == "open"


async def test_a_second_device_is_asked_before_it_takes_over(clinic: Clinic, browser: Browser) -> None:
    token = await clinic.link(await clinic.appointment())
    await browser.sit_down(token)
    assert (await click(browser, token))["state"] == "elsewhere"
    assert (await click(browser, token, switch=True))["state"] == "seated"
    clinic.now += ALIVE + timedelta(seconds=1)  # the other one has not been heard of for a while
    assert (await click(browser, token))["state"] == "seated"


async def test_links_of_elsewhere_are_unknown(clinic: Clinic, browser: Browser) -> None:
    visit = await clinic.visit(await clinic.appointment())
    assert visit.patient is not None
    link = visit.link(Seat.PATIENT, visit.patient, "en")
    other_clinic = clinic.links.sign(type(link)(1001, *[getattr(link, name) for name in link.__slots__[1:]]))
    for token in (other_clinic, "x", "A" * 94):
        await browser.ask("POST", "/v1/join/look", {"token": token}, status=404)


async def test_a_doctors_link_wants_the_doctor(clinic: Clinic, browser: Browser) -> None:
    token = await clinic.link(await clinic.appointment(), Seat.DOCTOR)
    looked = await look(browser, token)
    assert looked["needs_sign_in"] is True
    body = {"token": token, "gesture": looked["gesture"]}
    path = "/v1/join/exchange"
    assert (await browser.ask("POST", path, body, status=401))["code"] == "sign_in"
    other, _ = await another_provider(clinic)
    assert (await browser.ask("POST", path, body, by=(other, "doctor"), status=403))["code"] == "not_your_visit"
    seated = await browser.ask("POST", path, body, by=(clinic.doctor, "doctor"))
    assert (seated["state"], seated["bearer"]) == ("seated", None)


async def test_the_year_of_birth_is_asked_five_times(clinic: Clinic, browser: Browser) -> None:
    async with clinic.db.platform() as connection:
        await connection.execute("""UPDATE tenant SET policy = '{"join": {"birth_year": true}}'""")
    patient = await clinic.person(birth_year=1990)
    token = await clinic.link(await clinic.appointment(patient))
    assert (await look(browser, token))["needs_birth_year"] is True
    assert (await click(browser, token, 403))["code"] == "birth_year_needed"
    assert (await click(browser, token, birth_year=1990))["state"] == "seated"
    for left in (4, 3, 2, 1):
        wrong = await click(browser, token, 403, birth_year=1991)
        assert (wrong["code"], str(left) in str(wrong["detail"])) == ("birth_year_wrong", True)
    for year in (1991, 1990, 1990):
        assert (await click(browser, token, 403, birth_year=year))["code"] == "ask_the_clinic"
    staff = (await clinic.person("Desk"), "staff")
    appointment = await clinic.scalar("SELECT id FROM appointment")
    await browser.ask("POST", f"/v1/visits/{appointment}/vouch", by=staff, status=204)
    assert (await click(browser, token, switch=True))["state"] == "seated"


@pytest.mark.parametrize(
    "body",
    [{}, {"token": ""}, {"token": "x" * 201}, {"token": 5}, {"token": "x", "more": 1}, [], None],
)
async def test_bodies_that_are_none(browser: Browser, body: object) -> None:
    answer = await browser.response("POST", "/v1/join/look", body)
    assert answer.status in (415, 422)
    assert answer.content_type == "application/problem+json"


async def test_an_appointment_that_is_gone_is_an_unknown_link(clinic: Clinic, browser: Browser) -> None:
    visit = await clinic.visit(await clinic.appointment())
    link = visit.link(Seat.PATIENT, uuid4(), "en")
    gone = clinic.links.sign(type(link)(link.tenant, uuid4(), *[getattr(link, n) for n in link.__slots__[2:]]))
    await browser.ask("POST", "/v1/join/look", {"token": gone}, status=404)


async def test_a_link_goes_on_when_its_visitor_becomes_somebody_known(clinic: Clinic, browser: Browser) -> None:
    appointment = await clinic.appointment()
    token = await clinic.link(appointment)
    known = await clinic.person("Sana")
    await clinic.set(appointment, patient_id=known)
    await click(browser, token)
    assert await clinic.scalar("SELECT holder FROM visit_seat") == known
