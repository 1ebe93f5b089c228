"""The statement behind a list of appointments: for each shape of question one that reads by an index.

One statement for all of them (``$1 IS NULL OR ...``) would have one plan, which walks the clinic from its first day.
So a filter that was not given is not in the text, and what somebody has to do with (as patient, as doctor, as guardian,
in a class, as who booked for the clinic) are branches of a union, each with an index of its own
(booking/sql/0008_lists.sql). A branch gives no more rows than the page has, so the union is small whatever the clinic
is.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from booking.appointments.record import CARE, FIELDS, FROM

# $1: who asks, $2: the day
_OWN: Final = (
    "a.patient_id = $1",
    "a.provider_id = (SELECT p.id FROM provider p WHERE p.tenant_id = app_tenant() AND p.person_id = $1)",
)
_BOOKED: Final = "a.booked_by = $1 AND a.booked_by IS DISTINCT FROM a.patient_id"
# a guardian's right to book shows what they booked themselves
_CARED: Final = f"(SELECT d.person_id, d.rights FROM dependant d WHERE {CARE}) AS ward (id, rights)"
_MAY_SEE: Final = "('read' = ANY(ward.rights) OR {}.booked_by = $1 AND 'book' = ANY(ward.rights))"
# a few rows of something else, and what they lead to; lateral and limited, so that each is looked up
_LED_TO: Final = (
    (_CARED, f"a.patient_id = ward.id AND {_MAY_SEE.format('a')}"),
    (
        "(SELECT e.appointment_id FROM seat e WHERE e.patient_id = $1 AND e.status = 'confirmed') AS of (id)",
        "a.id = of.id",
    ),
    (
        f"""(SELECT e.appointment_id FROM {_CARED}, LATERAL (SELECT e.appointment_id, e.booked_by FROM seat e
            WHERE e.patient_id = ward.id AND e.status = 'confirmed' OFFSET 0) AS e
        WHERE {_MAY_SEE.format("e")}) AS of (id)""",
        "a.id = of.id",
    ),
)
_SEATS_BOOKED: Final = (
    """(SELECT e.appointment_id FROM seat e WHERE e.booked_by = $1 AND e.booked_by IS DISTINCT FROM e.patient_id
        AND e.status = 'confirmed') AS of (id)""",
    "a.id = of.id",
)


class Wanted(Struct, frozen=True, kw_only=True):
    """What the list is of. ``everybody``: of the clinic, else of ``person``; ``booked``: also what they booked for
    others. ``after``: the last row of the page before. ``status`` is one of the machine's."""

    person: UUID
    day: date
    everybody: bool
    booked: bool = False
    begin: datetime | None = None
    end: datetime | None = None
    status: str | None = None
    provider: UUID | None = None
    patient: UUID | None = None
    service: UUID | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int


def statement(wanted: Wanted) -> tuple[str, Sequence[object]]:
    """The statement and its arguments; rows as `record.FIELDS`, by their start."""
    values: list[object] = [wanted.person, wanted.day]

    def value(of: object) -> str:
        values.append(of)
        return f"${len(values)}"

    filters = []
    for column, of in (("provider_id", wanted.provider), ("patient_id", wanted.patient)):
        if of is not None:
            filters.append(f"a.{column} = {value(of)}")
    if wanted.service is not None:
        service = value(wanted.service)
        filters.append(f"a.service_id = {service}")
        filters.append(f"a.provider_id = (SELECT v.provider_id FROM service v WHERE v.id = {service})")
    if wanted.begin is not None:
        filters.append(f"a.starts_at >= {value(wanted.begin)}")
    if wanted.end is not None:
        filters.append(f"a.starts_at < {value(wanted.end)}")
    if wanted.after is not None:
        start, id = (value(of) for of in wanted.after)
        filters.append(f"a.starts_at >= {start}")
        filters.append(f"(a.starts_at, a.id) > ({start}, {id})")
    if wanted.status is None:
        filters.append("a.status <> 'expired'")
    else:
        # in the text, because only so the planner can see that an index of some statuses has it
        if not wanted.status.replace("_", "").isalpha():
            raise ValueError("no such status")
        filters.append(f"a.status = '{wanted.status}'")
    order = f"ORDER BY a.starts_at, a.id LIMIT {value(wanted.limit)}"
    if wanted.everybody:
        # $1 and $2 stand in FIELDS
        return f"SELECT {FIELDS} {FROM} WHERE {' AND '.join(filters)} {order}", values

    def reading(which: str) -> str:
        return f"(SELECT a.id, a.starts_at FROM appointment a WHERE {' AND '.join([which, *filters])} {order})"

    owned = (*_OWN, _BOOKED) if wanted.booked else _OWN
    led_to = (*_LED_TO, _SEATS_BOOKED) if wanted.booked else _LED_TO
    branches = [f"(SELECT a.id FROM {reading(which)} AS a)" for which in owned]
    branches += [f"(SELECT a.id FROM {few}, LATERAL {reading(which)} AS a {order})" for few, which in led_to]
    union = " UNION ".join(branches)
    return f"SELECT {FIELDS} {FROM} WHERE a.id IN ({union}) {order}", values
