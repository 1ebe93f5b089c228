"""The life of an appointment as a table of rows; nothing here reads a clock or a database.

    held -> (payment) -> requested | confirmed -> checked_in -> in_progress -> completed

A hold ends by being booked, released or too old. A request waits for the doctor. What happens in the call comes from
call events: a lost call is `interrupted` and may be resumed for a while; the doctor may put right within a day what was
noted wrongly. BOOKING 3.5; in the words of W-25 Requested is requested, Accepted confirmed, Cancelled cancelled_by_*.

A row says what is done, from which status, to which one, which parties may do it, under which right, what must hold
(`booking.appointments.guards`), and what the world is told. The same action may have several rows, told apart by status
and party; `find` takes the first that fits. An appointment changes by these rows and in no other way: whoever changes
it compares the status and the version, so of two who change it at once one is refused (`transitions.change`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    HELD = "held"
    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    CHECKED_IN = "checked_in"
    IN_PROGRESS = "in_progress"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    EXPIRED = "expired"
    DECLINED = "declined"
    CANCELLED_BY_PATIENT = "cancelled_by_patient"
    CANCELLED_BY_PROVIDER = "cancelled_by_provider"
    CANCELLED_BY_CLINIC = "cancelled_by_clinic"
    CANCELLED_BY_SYSTEM = "cancelled_by_system"
    NO_SHOW_PATIENT = "no_show_patient"
    NO_SHOW_PROVIDER = "no_show_provider"


# Takes the provider's time; the same list stands in the exclusion constraint.
LIVE: Final = frozenset(
    {
        Status.HELD,
        Status.REQUESTED,
        Status.CONFIRMED,
        Status.CHECKED_IN,
        Status.IN_PROGRESS,
        Status.INTERRUPTED,
    }
)


class Party(StrEnum):
    """What somebody is to an appointment. A caregiver, and the guest of a join link, is the patient here."""

    PATIENT = "patient"
    PROVIDER = "provider"
    CLINIC = "clinic"
    SYSTEM = "system"


PATIENT, PROVIDER, CLINIC, SYSTEM = Party
ALL: Final = frozenset(Party)
BOOKERS: Final = frozenset({PATIENT, CLINIC})
HOSTS: Final = frozenset({PROVIDER, CLINIC})
CALL: Final = frozenset({PROVIDER, SYSTEM})


@dataclass(frozen=True, slots=True)
class Row:
    """One transition. ``source`` None: the appointment begins. ``target`` None: the status stays. ``right``: the name
    without its scope; the party decides which scope is asked for. ``revokes``: old join links die."""

    action: str
    source: frozenset[Status | None]
    target: Status | None
    parties: frozenset[Party]
    right: str
    event: str
    guards: tuple[str, ...] = ()
    revokes: bool = False


def _row(
    action: str,
    source: str,
    target: Status | None,
    parties: frozenset[Party],
    right: str,
    event: str,
    *guards: str,
    revokes: bool = False,
) -> Row:
    origins = frozenset(None if word == "-" else Status(word) for word in source.split())
    return Row(action, origins, target, parties, right, event, guards, revokes)


S = Status
_BOOK, _HOLD, _DECIDE = "appointment.book", "appointment.hold", "appointment.decide"
_MOVE, _CANCEL, _CONDUCT = "appointment.reschedule", "appointment.cancel", "appointment.conduct"
_ARRIVE, _CLASS = "appointment.check_in", "class.manage"
_CANCELLABLE: Final = "requested confirmed checked_in"

TABLE: Final[tuple[Row, ...]] = (
    _row("hold", "-", S.HELD, ALL, _HOLD, "hold.created"),
    _row("extend", "held", None, BOOKERS, _HOLD, "hold.extended", "hold_alive", "extendable"),
    _row("release", "held", S.EXPIRED, BOOKERS | {SYSTEM}, _HOLD, "hold.expired"),
    _row("expire", "held", S.EXPIRED, frozenset({SYSTEM}), _HOLD, "hold.expired", "hold_over"),
    _row("book", "- held", S.CONFIRMED, ALL, _BOOK, "appointment.booked", "hold_alive"),
    _row("request", "- held", S.REQUESTED, ALL, _BOOK, "appointment.requested", "hold_alive"),
    _row("open_class", "-", S.CONFIRMED, ALL, _CLASS, "class.opened"),  # the first seat opens its class
    _row("accept", "requested", S.CONFIRMED, HOSTS, _DECIDE, "appointment.accepted", "before_end"),
    _row("decline", "requested", S.DECLINED, HOSTS, _DECIDE, "appointment.declined", revokes=True),
    _row("reschedule", "requested confirmed", None, frozenset({PATIENT}), _MOVE, "appointment.rescheduled",
         "patient_may_move", revokes=True),
    _row("reschedule", "requested confirmed checked_in", S.CONFIRMED, HOSTS, _MOVE, "appointment.rescheduled",
         "not_begun", revokes=True),
    # a doctor who wants to be asked is asked about the new time too
    _row("reschedule_request", "requested confirmed", S.REQUESTED, frozenset({PATIENT}), _MOVE,
         "appointment.rescheduled", "patient_may_move", revokes=True),
    _row("cancel", _CANCELLABLE, S.CANCELLED_BY_PATIENT, frozenset({PATIENT}), _CANCEL, "appointment.cancelled",
         "patient_may_cancel", revokes=True),
    _row("cancel", _CANCELLABLE + " interrupted", S.CANCELLED_BY_PROVIDER, frozenset({PROVIDER}), _CANCEL,
         "appointment.cancelled", revokes=True),
    _row("cancel", _CANCELLABLE + " interrupted", S.CANCELLED_BY_CLINIC, frozenset({CLINIC}), _CANCEL,
         "appointment.cancelled", revokes=True),
    _row("cancel", _CANCELLABLE + " interrupted", S.CANCELLED_BY_SYSTEM, frozenset({SYSTEM}), _CANCEL,
         "appointment.cancelled", revokes=True),
    _row("check_in", "confirmed", S.CHECKED_IN, frozenset({PATIENT, CLINIC, SYSTEM}), _ARRIVE,
         "appointment.checked_in", "check_in_open"),
    _row("start", "confirmed checked_in", S.IN_PROGRESS, CALL, _CONDUCT, "appointment.started", "near"),
    _row("interrupt", "in_progress", S.INTERRUPTED, CALL, _CONDUCT, "appointment.interrupted"),
    _row("resume", "interrupted", S.IN_PROGRESS, CALL, _CONDUCT, "appointment.started", "resumable"),
    _row("complete", "in_progress interrupted", S.COMPLETED, HOSTS | {SYSTEM}, _CONDUCT, "appointment.completed"),
    # in the clinic's rooms there is no call that tells
    _row("complete", "confirmed checked_in", S.COMPLETED, HOSTS, _CONDUCT, "appointment.completed", "begun", "on_site"),
    _row("no_show_patient", "confirmed checked_in", S.NO_SHOW_PATIENT, HOSTS | {SYSTEM}, _CONDUCT,
         "appointment.no_show", "grace_over"),
    _row("no_show_provider", "confirmed checked_in", S.NO_SHOW_PROVIDER, frozenset({PATIENT}), _ARRIVE,
         "appointment.no_show", "grace_over"),
    _row("no_show_provider", "confirmed checked_in", S.NO_SHOW_PROVIDER, frozenset({CLINIC, SYSTEM}), _CONDUCT,
         "appointment.no_show", "grace_over"),
    _row("correct_completed", "no_show_patient no_show_provider interrupted", S.COMPLETED, frozenset({PROVIDER}),
         _CONDUCT, "appointment.completed", "correctable"),
    _row("correct_no_show", "completed interrupted", S.NO_SHOW_PATIENT, frozenset({PROVIDER}), _CONDUCT,
         "appointment.no_show", "correctable"),
)  # fmt: skip

ACTIONS: Final = frozenset(row.action for row in TABLE)
_BY_ACTION: Final = {action: tuple(row for row in TABLE if row.action == action) for action in ACTIONS}


def find(action: str, status: str | None, party: Party) -> Row | None:
    """The row that ``party`` would go by; None: this cannot happen to an appointment of that status."""
    for row in _BY_ACTION[action]:
        if party in row.parties and (None if status is None else Status(status)) in row.source:
            return row
    return None


def parties_of(action: str) -> frozenset[Party]:
    """Who may ever do it, whatever the status."""
    return frozenset().union(*(row.parties for row in _BY_ACTION[action]))


def right_of(action: str, party: Party) -> str | None:
    """The full name of the right that ``party`` needs; None: the system needs none, or this party may never do it."""
    for row in _BY_ACTION[action]:
        if party in row.parties:
            if party is SYSTEM:
                return None
            if row.right == _HOLD:
                return row.right
            return f"{row.right}.{'clinic' if party is CLINIC else 'own'}"
    return None
