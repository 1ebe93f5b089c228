"""How a visit ends for each who was in it, or waited for it: every cause has its own words and a way on.

The table is the contract: what the visit says of itself, how the call ended, and who reads it.
"""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import web

from tests.web.conftest import PHONE, Visit, Visitor
from tests.web.fake_clinic import LINK, VISIT, FakeClinic, soon
from tests.web.fake_clinic import visit as visit_view
from tests.web.test_pages import overflows, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
PATH = f"/v1/visits/{VISIT}"


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeClinic, str]]:
    server = FakeClinic()
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def clinic(visitor: Visitor) -> FakeClinic:
    return cast(FakeClinic, visitor.server)


def in_the_call(seat: str) -> str:
    """As the visit page hands a call over."""
    host = str(seat == "doctor").lower()
    return f"""sessionStorage.setItem('wadud.visit.visit-room-0123456789', JSON.stringify(
        {{ appointment: '{VISIT}', byPass: true, back: '/j/al-shifa', host: {host}, seat: '{seat}',
           name: 'Sana', wanted: {{ microphone: true, camera: false }} }}))"""


async def call_of(visit: Visit, seat: str = "patient", language: str = "en", **options: Any) -> Visitor:
    visitor = await visit(before=in_the_call(seat), **options)
    await visitor.page.goto(f"{visitor.address}/call/visit-room-0123456789?lang={language}")
    await visitor.see("leave")
    return visitor


async def told(visitor: Visitor, reason: str) -> str:
    await visitor.until(f"document.querySelector('[data-testid=visit-over]')?.dataset.reason === '{reason}'")
    return str(await visitor.page.inner_text("main"))


OTHERS = [{"seat": "patient", "holder": VISIT, "name": "Sana Malik", "state": "left", "here": False}]
COMPLETED: dict[str, Any] = {"state": "left", "status": "completed", "end": "over", "talked_s": 754}


@pytest.mark.parametrize(
    "seat, bye, shown, reason, words",
    [
        ("patient", "revoked", COMPLETED, "completed", ["Your visit has ended", "Dr. Ayesha Khan", "13 minutes"]),
        ("third", "revoked", COMPLETED, "completed", ["The visit has ended", "You can close this page"]),
        ("doctor", "revoked", {**COMPLETED, "others": OTHERS}, "completed", ["over for everybody", "Sana Malik"]),
        ("patient", "revoked", {"state": "left"}, "ended", ["The doctor has ended the visit"]),
        ("patient", "revoked", {"state": "denied"}, "put_out", ["You were taken out of the visit"]),
        ("patient", "removed", {"state": "admitted"}, "removed", ["You were taken out of the call"]),
        ("patient", "room_closed", {"state": "admitted"}, "interrupted", ["The visit goes on"]),
        ("patient", "token_expired", {"end": "over", "status": "checked_in"}, "over", ["has passed"]),
        (
            "patient",
            "revoked",
            {"end": "cancelled", "status": "cancelled_by_clinic", "payment": "refund_due"},
            "cancelled_by_clinic",
            ["The clinic had to cancel", "is being returned"],
        ),
        ("patient", "revoked", {"state": "left", "opens_at": soon(3000)}, "rescheduled", ["has another time now"]),
        ("patient", "replaced", {"state": "admitted"}, "moved", ["goes on elsewhere"]),
    ],
)
async def test_a_call_that_ended_says_what_became_of_the_visit(
    visit: Visit, seat: str, bye: str, shown: dict[str, Any], reason: str, words: list[str]
) -> None:
    visitor = await call_of(visit, seat)
    clinic(visitor).visit = visit_view(seat=seat, **shown)
    await visitor.server.push("bye", reason=bye)
    text = await told(visitor, reason)
    assert [each for each in words if each not in text] == []
    assert "invitation" not in text
    assert await visitor.of("book-again").count() == int(seat == "patient")
    assert await visitor.of("to-my-day").count() == int(seat == "doctor")
    assert await visitor.of("back-to-visit").count() == int(reason in ("ended", "removed", "interrupted", "moved"))


@pytest.mark.parametrize(
    "code, reason",
    [("invitation_withdrawn", "withdrawn"), ("link_replaced", "replaced"), ("visit_cancelled", "cancelled")],
)
async def test_a_seat_that_is_gone_says_why(visit: Visit, code: str, reason: str) -> None:
    visitor = await call_of(visit, "third" if code == "invitation_withdrawn" else "patient")
    clinic(visitor).refusals[PATH] = (410, {"code": code})
    await visitor.server.push("bye", reason="revoked")
    await told(visitor, reason)


async def test_a_lost_connection_is_not_called_an_end_until_the_visit_says_so(visit: Visit) -> None:
    visitor = await call_of(visit)
    clinic(visitor).refusals[PATH] = (503, {"code": "database_unavailable"})
    clinic(visitor).visit = visit_view(**COMPLETED)
    await visitor.page.clock.install()
    await visitor.server.push("bye", reason="revoked")
    assert "The connection was lost" in await told(visitor, "connection_lost")
    await visitor.page.clock.run_for(6000)
    assert "Your visit has ended" in await told(visitor, "completed")
    assert await visitor.page.locator("#assertive").inner_text() == "Your visit has ended"


@pytest.mark.parametrize(
    "looked, reason",
    [
        ({"state": "over", "status": "completed", "talked_s": 300}, "completed"),
        ({"state": "over", "status": "no_show_patient"}, "no_show_patient"),
        ({"state": "over", "status": "confirmed"}, "over"),
        ({"state": "cancelled", "status": "cancelled_by_provider"}, "cancelled_by_provider"),
        ({"state": "cancelled", "status": "declined"}, "declined"),
        ({"state": "cancelled", "status": "confirmed"}, "cancelled"),
        ({"state": "withdrawn", "seat": "third"}, "withdrawn"),
        ({"state": "replaced"}, "replaced"),
    ],
)
async def test_a_link_that_is_opened_after_the_end_says_how_it_ended(
    visit: Visit, looked: dict[str, Any], reason: str
) -> None:
    visitor = await visit()
    clinic(visitor).looked |= looked
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang=en#{LINK}")
    await told(visitor, reason)


@pytest.mark.parametrize("code, reason", [("invitation_withdrawn", "withdrawn"), ("visit_cancelled", "cancelled")])
async def test_who_waits_and_has_no_seat_any_more_is_told_why(visit: Visit, code: str, reason: str) -> None:
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang=en#{LINK}")
    await visitor.of("enter-visit").click()
    await visitor.see("place")
    clinic(visitor).refusals[PATH] = (410, {"code": code})
    await clinic(visitor).bye("gone")
    await told(visitor, reason)


async def test_a_visit_that_ends_while_somebody_waits_says_how_and_leaves_the_camera(visit: Visit) -> None:
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang=en#{LINK}")
    await visitor.of("enter-visit").click()
    await visitor.see("entry")
    await clinic(visitor).show(**COMPLETED)
    await told(visitor, "completed")
    assert await visitor.of("preview-video").count() == 0


@pytest.mark.parametrize("language", ["en", "ur"])
async def test_the_end_fits_a_phone_and_is_accessible(visit: Visit, language: str) -> None:
    visitor = await call_of(visit, language=language, viewport=PHONE, reduced_motion="reduce")
    clinic(visitor).visit = visit_view(**COMPLETED)
    await visitor.server.push("bye", reason="revoked")
    await told(visitor, "completed")
    assert not await overflows(visitor)
    assert await violations(visitor) == []
