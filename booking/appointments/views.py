"""What goes in and out over HTTP about appointments."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from backplane.lines import LINES
from backplane.postgres import Row
from booking.appointments.transitions import Begun
from booking.calendar import zones
from booking.policy import Step, policy_of, steps
from booking.refusals import Invalid

Instant = Annotated[datetime, Meta(tz=True)]
Zone = Annotated[str, Meta(min_length=1, max_length=64)]
Reason = Annotated[str, Meta(max_length=2000), LINES]
Code = Annotated[str, Meta(pattern="^[a-z][a-z_]{2,39}$")]
Status = Literal[
    "held", "requested", "confirmed", "checked_in", "in_progress", "interrupted", "completed", "expired", "declined",
    "cancelled_by_patient", "cancelled_by_provider", "cancelled_by_clinic", "cancelled_by_system", "no_show_patient",
    "no_show_provider",
]  # fmt: skip
Kind = Literal["video", "audio", "in_person", "class"]
# Why the rules were set aside.
OverrideCode = Literal["emergency", "clinical_need", "clinic_error", "provider_asked", "patient_hardship"]
# Why it ends, as far as people say.
CancelCode = Literal["", "ill", "other_plans", "recovered", "provider_away", "clinic_closed", "duplicate", "other"]


class NewHold(Struct, forbid_unknown_fields=True, kw_only=True):
    """A slot to keep. ``patient``: a dependant, or a patient of the clinic; otherwise oneself."""

    service: UUID
    start: Instant
    patient: UUID | None = None
    reason: Reason = ""
    timezone: Zone | None = None


class Override(Struct, forbid_unknown_fields=True):
    """Under the right to override: outside hours, over another booking, past a cut-off. Recorded with its reason."""

    reason: OverrideCode


class NewAppointment(Struct, forbid_unknown_fields=True, kw_only=True):
    """Either ``hold``, or ``service`` and ``start``, or ``specialty`` and ``start`` for whoever is free then."""

    hold: UUID | None = None
    service: UUID | None = None
    specialty: Annotated[str, Meta(max_length=64)] | None = None
    kind: Literal["video", "audio", "in_person"] = "video"
    language: Annotated[str, Meta(max_length=35)] | None = None
    start: Instant | None = None
    patient: UUID | None = None
    reason: Reason = ""
    timezone: Zone | None = None
    override: Override | None = None


class NewTime(Struct, forbid_unknown_fields=True, kw_only=True):
    start: Instant
    override: Override | None = None


class Cancellation(Struct, forbid_unknown_fields=True, kw_only=True):
    reason: CancelCode = ""
    override: Override | None = None


class Missed(Struct, forbid_unknown_fields=True):
    """Who did not come."""

    who: Literal["patient", "provider"]


class Correction(Struct, forbid_unknown_fields=True):
    """How it really ended."""

    status: Literal["completed", "no_show_patient"]


class NewClass(Struct, forbid_unknown_fields=True):
    service: UUID
    start: Instant


class NewSeries(Struct, forbid_unknown_fields=True, kw_only=True):
    """``rrule``: such as FREQ=WEEKLY;COUNT=6. ``partial``: book what can be had although some dates cannot."""

    service: UUID
    start: Instant
    rrule: Annotated[str, Meta(max_length=300)]
    patient: UUID | None = None
    reason: Reason = ""
    timezone: Zone | None = None
    partial: bool = False


class Seat(Struct, frozen=True, kw_only=True):
    """One patient's seat of a class."""

    id: UUID
    no: int
    patient: UUID
    payment: str


class Appointment(Struct, frozen=True, kw_only=True):
    """``local_text``: the start on the provider's clocks, as agreed. ``reason``: for the patient and the doctor only.
    ``patient_name``: for them and the clinic. ``seats``: of a class, those one may see. ``cancelling``: what it costs
    the patient to cancel, and until when; only where an appointment is read."""

    id: UUID
    status: Status
    kind: Kind
    provider: UUID
    service: UUID
    location: UUID | None
    patient: UUID | None
    starts_at: datetime
    ends_at: datetime
    hold_until: datetime | None
    price_minor: int
    currency: str
    payment: str
    provider_timezone: str
    patient_timezone: str
    local_text: str
    series: UUID | None
    overridden: bool
    capacity: int
    seats_taken: int
    version: int
    created_at: datetime
    doctor_name: str | UnsetType = UNSET
    service_name: str | UnsetType = UNSET
    patient_name: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    seats: list[Seat] | UnsetType = UNSET
    cancelling: list[Step] | UnsetType = UNSET


class Ended(Struct, frozen=True, kw_only=True):
    """A cancelled appointment, and what that costs."""

    appointment: Appointment
    fee_minor: int
    refund_minor: int
    currency: str


class SeatEnded(Struct, frozen=True):
    fee_minor: int
    refund_minor: int
    currency: str


class TermsNow(Struct, frozen=True, kw_only=True):
    """What one may still do and what it costs if done now; ``steps``: what it costs the patient, and until when."""

    may_cancel: bool
    cancel_until: datetime
    steps: list[Step]
    fee_minor: int
    refund_minor: int
    currency: str
    may_reschedule: bool
    reschedule_until: datetime


class Change(Struct, frozen=True, kw_only=True):
    """One transition. ``by``: the role, and ``self`` whether it was oneself."""

    action: str
    from_status: str | None
    to_status: str
    by: str
    self: bool
    cause: str
    seat: UUID | None
    at: datetime


class Booked(Struct, frozen=True):
    id: UUID
    start: datetime


class ConflictingDate(Struct, frozen=True):
    start: datetime
    reason: str


class Series(Struct, frozen=True):
    id: UUID
    appointments: list[Booked]
    conflicts: list[ConflictingDate]


class ClassSession(Struct, frozen=True, kw_only=True):
    """A class that can be joined."""

    id: UUID
    service: UUID
    provider: UUID
    name: str
    starts_at: datetime
    ends_at: datetime
    capacity: int
    seats_left: int
    price_minor: int
    currency: str


def appointment(row: Row, *, private: bool, named: bool | None = None, seats: list[Seat] | None = None) -> Appointment:
    """Of a row of `record.FIELDS`; one without names gives an answer without. ``private``: for the patient's and the
    doctor's eyes; ``named``: for who may know the patient's name, by default the same."""
    named = private if named is None else named
    return Appointment(
        id=row["id"],
        status=row["status"],
        kind=row["kind"],
        provider=row["provider_id"],
        service=row["service_id"],
        location=row["location_id"],
        patient=row["patient_id"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        hold_until=row["hold_until"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        payment=row["payment"],
        provider_timezone=row["provider_timezone"],
        patient_timezone=row["patient_timezone"],
        local_text=row["local_text"],
        series=row["series_id"],
        overridden=row["overridden"],
        capacity=row["capacity"],
        seats_taken=row["seats_taken"],
        version=row["version"],
        created_at=row["created_at"],
        doctor_name=row.get("doctor_name") or UNSET,
        service_name=row.get("service_name") or UNSET,
        patient_name=row.get("patient_name") or UNSET if named else UNSET,
        reason=row["reason"] if private else UNSET,
        seats=UNSET if seats is None else seats,
        cancelling=UNSET if row.get("policy") is None else _steps(row),
    )


def _steps(row: Row) -> list[Step]:
    return list(steps(policy_of(row["cancel_policy"], row["policy"]), row["starts_at"], row["price_minor"]))


def begun(made: Begun, *, private: bool) -> Appointment:
    """Of an appointment that has just been made: what reading it would give, without reading it."""
    draft = made.draft
    assert draft.during.lower is not None
    assert draft.during.upper is not None
    return Appointment(
        id=made.id,
        status=made.status,  # type: ignore[arg-type]  # one of the machine's
        kind=draft.kind,  # type: ignore[arg-type]  # one of the service table's
        provider=draft.provider,
        service=draft.service,
        location=draft.location,
        patient=draft.patient,
        starts_at=draft.during.lower.astimezone(UTC),
        ends_at=draft.during.upper.astimezone(UTC),
        hold_until=draft.hold_until,
        price_minor=draft.price_minor,
        currency=draft.currency,
        payment=draft.payment,
        provider_timezone=draft.provider_timezone,
        patient_timezone=draft.patient_timezone,
        local_text=draft.local_text,
        series=draft.series,
        overridden=draft.overridden,
        capacity=draft.capacity,
        seats_taken=0,
        version=1,
        created_at=made.at,
        reason=draft.reason if private else UNSET,
    )


_LEAST: Final = 2000


def start_of(at: datetime) -> datetime:
    """A start that can be meant. Invalid."""
    if not _LEAST <= at.year <= 2200:
        raise Invalid("bad_request", "This start lies beyond all calendars. Send a time near today.")
    return at


def zone_of(name: str | None) -> str | None:
    """Invalid for a zone that there is not."""
    if name is not None:
        try:
            zones.zone(name)
        except zones.UnknownZone:
            raise Invalid("unknown_zone", "Send an IANA time zone such as Asia/Karachi.") from None
    return name
