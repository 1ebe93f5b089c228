"""The payment step behind a port: hold, pay, confirm.

Booking asks `begin` what has to be paid before it confirms. An answer that does not confirm leaves the appointment held
until the gateway's deadline; whoever hears of the money then calls `booking.appointments.claims.confirm_paid`, which is
the only way from there, so a browser that comes back from a gateway completes nothing. `give_back` is told what a
cancellation leaves to the patient; it must not block on a gateway, since it runs in the transaction of the
cancellation, and answers what the column ``payment`` says from then on.

`begin` runs in the transaction of the booking, before the appointment has its row: what it posts, it posts against the
id that the row will get. If the row cannot be had, all of it is rolled back.
"""

from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from msgspec import Struct

from backplane.postgres import Connection

Paid = Literal["none", "due", "at_clinic", "authorised", "paid", "refund_due", "refunded"]


class Bill(Struct, frozen=True):
    """What one appointment, or one seat of a class, costs."""

    appointment: UUID
    patient: UUID
    service: UUID
    amount_minor: int
    currency: str


class Step(Struct, frozen=True):
    """What `Payments.begin` decided. ``until``: how long the time is kept when the money does not come at once."""

    payment: Paid
    confirms: bool = True
    ref: str | None = None
    until: datetime | None = None


class Payments(Protocol):
    """Whoever takes money."""

    async def begin(self, connection: Connection, bill: Bill, now: datetime) -> Step:
        """What has to happen before this is confirmed."""

    async def give_back(
        self,
        connection: Connection,
        appointment: UUID,
        payment: Paid,
        ref: str | None,
        back_minor: int,
        now: datetime,
    ) -> Paid:
        """The appointment ended early; ``back_minor`` of what was paid belongs to the patient."""


class AtClinic:
    """Free services cost nothing and others are paid at the desk: no gateway, so nothing to wait for."""

    async def begin(self, connection: Connection, bill: Bill, now: datetime) -> Step:
        return Step("at_clinic" if bill.amount_minor else "none")

    async def give_back(
        self,
        connection: Connection,
        appointment: UUID,
        payment: Paid,
        ref: str | None,
        back_minor: int,
        now: datetime,
    ) -> Paid:
        if payment in ("paid", "authorised"):
            return "refund_due" if back_minor else payment
        return payment if payment in ("refund_due", "refunded") else "none"
