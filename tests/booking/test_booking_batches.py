"""One booking is a batch of one, and what is posted for a payment stands or falls with its appointment."""

from datetime import datetime
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.postgres import Connection, Database
from backplane.request_batching import CannotBatch
from booking.appointments.claims import Claimed, Particulars, book_any, claim_slot, claim_slots
from booking.appointments.context import BookingContext
from booking.payments import AtClinic, Bill, Step
from booking.refusals import Refusal
from tests.support.booking import AlwaysOpen, Clinic, at, clinic


class Ledger(AtClinic):
    """Posts what is due against the appointment, before that has a row."""

    async def begin(self, connection: Connection, bill: Bill, now: datetime) -> Step:
        await connection.execute("INSERT INTO posted VALUES ($1)", bill.appointment)
        return Step("authorised", ref="gateway-7")


@pytest_asyncio.fixture
async def place(database: Database) -> Clinic:
    async with database.platform() as connection:
        await connection.execute("RESET ROLE")
        await connection.execute("CREATE TABLE posted (appointment uuid PRIMARY KEY); GRANT ALL ON posted TO PUBLIC")
    return await clinic(database, context=BookingContext(AlwaysOpen(), Ledger()))


async def posted(place: Clinic) -> set[UUID]:
    async with place.db.tenant(place.tenant.id) as connection:
        return {row["appointment"] for row in await connection.fetch("SELECT appointment FROM posted")}


async def test_money_is_posted_against_the_id_that_the_appointment_gets(place: Clinic) -> None:
    async with place.transaction() as connection:
        made = await place.claim(connection, "amina", at())
        ref = await connection.fetchval("SELECT payment_ref FROM appointment WHERE id = $1", made)
    assert ref == "gateway-7"
    assert await posted(place) == {made}


async def test_nothing_is_posted_for_a_slot_that_somebody_else_has(place: Clinic) -> None:
    async with place.transaction() as connection:
        first = await place.claim(connection, "amina", at())
    with pytest.raises(Refusal, match="slot_taken"):
        async with place.transaction() as connection:
            await place.claim(connection, "bilal", at())
    async with place.transaction() as connection:  # drsana has no time, drtariq has
        any_one = await book_any(
            connection, place.context, place.who("bilal"), "cardiology", "video", None, at(), Particulars(),
            place.command("bilal"),
        )  # fmt: skip
    assert await posted(place) == {first, any_one.id}


async def test_a_batch_in_which_somebody_is_too_late_is_rolled_back_whole(place: Clinic) -> None:
    async with place.transaction() as connection:
        first = await place.claim(connection, "amina", at())
    place.context.taken_slots.forget(place.services["video"])
    with pytest.raises(CannotBatch):
        async with place.transaction() as connection:
            await claim_slots(
                connection, place.context, [place.request("bilal", at(), "other"), place.request("chand", at())]
            )
    assert await posted(place) == {first}
    assert await place.balanced() == 1


async def test_a_batch_does_what_is_plain_and_puts_off_the_rest(place: Clinic) -> None:
    requests = [
        place.request("amina", at()),
        place.request("bilal", at(2)),  # the same doctor
        place.request("chand", at(3), "yoga"),  # a seat, whose class has to be locked
        place.request("chand", at(minute=7), "other"),  # not offered
        place.request("bilal", at(), "other", hold=True),
    ]
    async with place.transaction() as connection:
        outcomes = await claim_slots(connection, place.context, requests)
    assert [isinstance(each, Claimed) for each in outcomes] == [True, False, False, False, True]
    assert [each is None for each in outcomes] == [False, True, True, True, False]
    for put_off in requests[1:3]:
        async with place.transaction() as connection:
            await claim_slot(connection, place.context, put_off)
    async with place.transaction() as connection:
        with pytest.raises(Refusal, match="slot_not_offered"):
            await claim_slot(connection, place.context, requests[3])
    await place.balanced()
