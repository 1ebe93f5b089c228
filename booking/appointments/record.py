"""An appointment as it is now, with what the one who asks is to it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.postgres import Connection, Row
from backplane.principal import Principal
from booking import access_policy
from booking.access_policy import Stake
from booking.appointments import machine
from booking.appointments.guards import Circumstances
from booking.appointments.machine import Party
from booking.policy import Policy, policy_of
from booking.refusals import Conflict, Denied, NotFound, Refusal

# $1: who asks, $2: the day
CARE: Final = "d.guardian_id = $1 AND d.ended_at IS NULL AND (d.until IS NULL OR d.until > $2)"
FIELDS: Final = f"""
    a.*, upper(a.during) AS ends_at, p.person_id AS doctor, s.auto_confirm, s.cancel_policy, t.policy,
    trim(p.title || ' ' || p.display_name) AS doctor_name, s.name AS service_name,
    (SELECT n.name FROM person n WHERE n.id = a.patient_id) AS patient_name,
    (SELECT d.rights FROM dependant d WHERE {CARE} AND d.person_id = a.patient_id) AS care,
    a.patient_id IS NULL AND EXISTS (SELECT FROM seat e WHERE e.appointment_id = a.id AND e.status = 'confirmed'
        AND (e.patient_id = $1 OR EXISTS (SELECT FROM dependant d WHERE {CARE} AND d.person_id = e.patient_id
            AND ('read' = ANY(d.rights) OR e.booked_by = $1 AND 'book' = ANY(d.rights))))) AS seated"""
FROM: Final = """
FROM appointment a JOIN provider p ON p.id = a.provider_id JOIN service s ON s.id = a.service_id
    JOIN tenant t ON t.id = a.tenant_id"""
_LOAD: Final = f"SELECT {FIELDS} {FROM} WHERE a.id = $3"


@dataclass(frozen=True, slots=True)
class Record:
    """A row of appointment. ``stake``: what the one who asked is to it."""

    row: Row
    policy: Policy
    stake: Stake

    @property
    def id(self) -> UUID:
        id: UUID = self.row["id"]
        return id

    @property
    def status(self) -> str:
        return str(self.row["status"])

    @property
    def version(self) -> int:
        return int(self.row["version"])

    @property
    def service(self) -> UUID:
        service: UUID = self.row["service_id"]
        return service

    @property
    def starts_at(self) -> datetime:
        at: datetime = self.row["starts_at"]
        return at

    @property
    def is_class(self) -> bool:
        return self.row["patient_id"] is None

    def circumstances(self) -> Circumstances:
        row = self.row
        return Circumstances(
            policy=self.policy,
            kind=row["kind"],
            starts_at=row["starts_at"],
            ends_at=row["ends_at"],
            since=row["updated_at"],
            hold_until=row["hold_until"],
            extended=row["extended"],
            moved=row["moved"],
            checked_in_at=row["checked_in_at"],
        )


def record(row: Row, person: UUID | None) -> Record:
    stake = Stake(
        is_patient=person is not None and row["patient_id"] == person,
        is_doctor=person is not None and row["doctor"] == person,
        booked=person is not None and row["booked_by"] == person,
        held=row["status"] == "held",
        care=(row["care"] or ()) if person is not None else (),
        seated=person is not None and row["seated"],
    )
    return Record(row, policy_of(row["cancel_policy"], row["policy"]), stake)


async def load(connection: Connection, appointment: UUID, person: UUID | None, now: datetime) -> Record | None:
    """The appointment, with the relations of ``person``."""
    row = await connection.fetchrow(_LOAD, person, now.date(), appointment)
    return None if row is None else record(row, person)


async def need(connection: Connection, appointment: UUID, who: Principal, now: datetime) -> Record:
    """As `load`, for somebody who may know that it exists. NotFound."""
    found = await load(connection, appointment, who.person, now)
    if found is None or not access_policy.knows_of_appointment(who, found.stake):
        raise no_such_appointment()
    return found


def no_such_appointment() -> Refusal:
    return NotFound("not_found", "There is no such appointment of yours here.")


@dataclass(frozen=True, slots=True)
class Standing:
    """As what somebody acts, and by which row of the machine."""

    party: Party
    step: machine.Row


def standing(found: Record, who: Principal, action: str, *, override: bool = False) -> Standing:
    """How ``who`` may do ``action`` now. ``override``: as the clinic, past rights of the action itself.

    Denied forbidden: nothing that they are may ever do it. Conflict not_possible: not in this status.
    """
    allowed = access_policy.parties_for(who, found.stake, action, override=override)
    if not allowed:
        raise Denied("forbidden", "This is not for you to do. Ask the clinic.")
    for party in allowed:
        if step := machine.find(action, found.status, party):
            return Standing(party, step)
    raise not_possible(action, found.status)


def not_possible(action: str, status: str) -> Refusal:
    detail = f"This appointment is {status.replace('_', ' ')}, so this cannot be done with it. Look at it again."
    return Conflict("not_possible", detail, facts={"appointment_status": status})


def changed_meanwhile() -> Refusal:
    return Conflict("changed_meanwhile", "Somebody else changed this appointment just now. Look at it again.")
