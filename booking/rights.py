"""Who may do what, as data: roles hold rights, a right is a name, and every route names the right that it needs.

A name is ``noun.verb`` or ``noun.verb.scope``. The scope says whose things: ``own`` (one's own, or a dependant's) or
``clinic`` (everything of this tenant). Whoever holds ``appointment.cancel.clinic`` holds ``appointment.cancel.own`` and
the bare ``appointment.cancel`` too, so a route asks for the weakest name that makes sense and its handler looks which
scope is there. Somebody holds the rights of all roles together, but roles are never inherited from one another.

A tenant may narrow: its policy says ``{"rights": {"staff": {"withhold": ["appointment.cancel.clinic"]}}}``. There is no
way to write a widening, and withholding a name withholds the wider scopes of it as well.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from backplane.routes import Rate

ANONYMOUS: Final = "anonymous"
GUEST_LINK: Final = "guest_link"
PATIENT: Final = "patient"
DOCTOR: Final = "doctor"
STAFF: Final = "staff"
CLINIC_ADMIN: Final = "clinic_admin"
PLATFORM_ADMIN: Final = "platform_admin"
FINANCE: Final = "finance"
SUPPORT: Final = "support"

PLATFORM_TENANT: Final = 1

VISITORS: Final = Rate(per_s=0.1, burst=40)
"""For what visitors without an account could take from others (times, a doctor's attention): of all from one address
together, for each of them may begin anew as somebody else."""

# name -> what it allows. A name that is not here cannot be asked for nor granted.
RIGHTS: Final[Mapping[str, str]] = {
    # account
    "account.read.own": "see one's own account",
    "profile.manage.own": "change one's own name, language, time zone",
    "account.manage.own": "change one's own contacts, password and second factors",
    "session.manage.own": "see and end one's own sessions",
    "dependant.manage.own": "add people one cares for, and name people who care for one",
    "invite.accept.own": "accept an invitation that was sent to one's own address",
    # booking
    "appointment.hold": "keep a slot for some minutes",
    "appointment.book.own": "book for oneself or a dependant",
    "appointment.book.clinic": "book on behalf of a patient of the clinic",
    "appointment.read.own": "see one's own appointments",
    "appointment.read.clinic": "see the appointments of the clinic",
    "appointment.reschedule.own": "move one's own appointment",
    "appointment.reschedule.clinic": "move an appointment of the clinic",
    "appointment.cancel.own": "cancel one's own appointment",
    "appointment.cancel.clinic": "cancel an appointment of the clinic",
    "appointment.decide.own": "accept or decline a request to oneself as the doctor",
    "appointment.decide.clinic": "accept or decline a request to a doctor of the clinic",
    "appointment.check_in.own": "arrive for one's own appointment",
    "appointment.check_in.clinic": "mark a patient as arrived",
    "appointment.conduct.own": "start, complete and mark as missed as the doctor of the appointment",
    "appointment.conduct.clinic": "mark as completed or missed for the clinic",
    "appointment.override": "book, move or cancel outside the rules, with a reason, audited",
    "class.manage.own": "run one's own classes and see their rosters",
    "class.manage.clinic": "run the classes of the clinic",
    "waitlist.join.own": "wait for a slot and take an offer",
    "waitlist.manage.clinic": "see and order the waiting list of the clinic",
    "instant.request.own": "ask for a doctor now",
    "instant.answer.own": "take instant requests as a doctor",
    "feed.manage.own": "have a secret calendar feed of one's own",
    # visit
    "visit.join.own": "enter one's own visit",
    "visit.host.own": "open, admit to and end one's own visits as the doctor",
    "link.create.own": "make join links for one's own visit, and ask others in",
    "link.create.clinic": "make join links for visits of the clinic",
    "queue.read.own": "see one's own place in a queue",
    "queue.manage.own": "run one's own queue as the doctor",
    "queue.manage.clinic": "run the lobby and the queues of the clinic",
    # providers
    "provider.apply.own": "apply to be a doctor here",
    "provider.manage.own": "change one's own profile, services and documents as a doctor",
    "provider.manage.clinic": "change profiles and services of the clinic's doctors",
    "provider.verify": "review, approve, reject and suspend doctors",
    "schedule.manage.own": "change one's own hours",
    "schedule.manage.clinic": "change the hours of the clinic's doctors",
    # clinic
    "clinic.read": "see the clinic's inner settings, people and locations",
    "clinic.manage": "change name, brand, policy, locations and sign-in providers of the clinic",
    "membership.read.clinic": "see who works here",
    "membership.manage.clinic": "invite staff and end their membership",
    "audit.read.clinic": "read and verify the clinic's audit trail",
    "delivery.read.clinic": "see which messages were sent and what became of them",
    # money
    "payment.pay.own": "pay for one's own appointment",
    "payment.read.clinic": "see the clinic's payments",
    "refund.request.own": "ask for money back",
    "refund.propose": "propose a refund",
    "refund.decide": "grant a refund within the limits",
    "payout.read.own": "see one's own payouts",
    "payout.read.clinic": "see the clinic's payouts",
    "payout.create": "prepare payouts",
    "payout.approve": "approve payouts that somebody else prepared",
    # clinical
    "record.read.own": "read one's own notes and prescriptions, or those of one's own patients as their doctor",
    "record.write.own": "write notes and prescriptions of one's own patients as their doctor",
    "record.read.clinic": "read records of the clinic where granted",
    "record.break_glass": "read a record in an emergency, audited",
    # platform
    "tenant.read": "see all clinics",
    "tenant.manage": "create and change clinics",
    "platform.operate": "see queues, replay events, look at the health of all parts",
    "person.impersonate": "see the product as somebody else does, read-only, audited",
}

_PERSON: Final = (
    "account.read.own",
    "profile.manage.own",
    "account.manage.own",
    "session.manage.own",
    "invite.accept.own",
)
_VISITOR: Final = (
    "account.read.own",
    "profile.manage.own",
    "session.manage.own",
    "appointment.hold",
    "appointment.book.own",
    "appointment.read.own",
    "appointment.check_in.own",
    "payment.pay.own",
    "waitlist.join.own",
    "instant.request.own",
    "visit.join.own",
    "link.create.own",
    "queue.read.own",
)
_FRONT_DESK: Final = (
    *_PERSON,
    "appointment.hold",
    "appointment.book.clinic",
    "appointment.read.clinic",
    "appointment.reschedule.clinic",
    "appointment.cancel.clinic",
    "appointment.decide.clinic",
    "appointment.check_in.clinic",
    "appointment.conduct.clinic",
    "class.manage.clinic",
    "waitlist.manage.clinic",
    "link.create.clinic",
    "queue.manage.clinic",
    "schedule.manage.clinic",
    "clinic.read",
    "membership.read.clinic",
    "delivery.read.clinic",
    "payment.pay.own",
    "payment.read.clinic",
    "refund.propose",
)

# BOOKING 3.14. A guest link reschedules and cancels its own appointment only, which its handler sees by the link.
MATRIX: Final[Mapping[str, tuple[str, ...]]] = {
    ANONYMOUS: (*_VISITOR, "appointment.cancel.own"),
    GUEST_LINK: (
        "appointment.read.own",
        "appointment.reschedule.own",
        "appointment.cancel.own",
        "appointment.check_in.own",
        "payment.pay.own",
        "visit.join.own",
        "link.create.own",
        "queue.read.own",
        "record.read.own",
    ),
    PATIENT: (
        *_PERSON,
        *_VISITOR,
        "dependant.manage.own",
        "appointment.reschedule.own",
        "appointment.cancel.own",
        "refund.request.own",
        "feed.manage.own",
        "provider.apply.own",
        "record.read.own",
    ),
    DOCTOR: (
        *_PERSON,
        *_VISITOR,
        "appointment.reschedule.own",
        "appointment.cancel.own",
        "appointment.decide.own",
        "appointment.conduct.own",
        "class.manage.own",
        "instant.answer.own",
        "feed.manage.own",
        "visit.host.own",
        "queue.manage.own",
        "provider.manage.own",
        "schedule.manage.own",
        "clinic.read",
        "refund.propose",
        "payout.read.own",
        "record.read.own",
        "record.write.own",
    ),
    STAFF: _FRONT_DESK,
    CLINIC_ADMIN: (
        *_FRONT_DESK,
        "appointment.override",
        "provider.manage.clinic",
        "clinic.manage",
        "membership.manage.clinic",
        "audit.read.clinic",
        "refund.decide",
        "payout.read.clinic",
    ),
    PLATFORM_ADMIN: (
        *_PERSON,
        "appointment.read.clinic",
        "appointment.override",
        "provider.verify",
        "clinic.read",
        "membership.read.clinic",
        "membership.manage.clinic",
        "audit.read.clinic",
        "delivery.read.clinic",
        "payment.read.clinic",
        "refund.decide",
        "payout.read.clinic",
        "payout.approve",
        "record.break_glass",
        "tenant.read",
        "tenant.manage",
        "platform.operate",
        "person.impersonate",
    ),
    FINANCE: (
        *_PERSON,
        "payment.read.clinic",
        "refund.propose",
        "refund.decide",
        "payout.read.clinic",
        "payout.create",
    ),
    SUPPORT: (
        *_PERSON,
        "appointment.hold",
        "appointment.book.clinic",
        "appointment.read.clinic",
        "appointment.override",
        "delivery.read.clinic",
        "refund.propose",
        "person.impersonate",
    ),
}

ROLES: Final = frozenset(MATRIX)
# Roles that a membership row gives. Patient, anonymous and guest of a link are what one is; nobody grants them.
MEMBER_ROLES: Final = frozenset({DOCTOR, STAFF, CLINIC_ADMIN, PLATFORM_ADMIN, FINANCE, SUPPORT})
# Who may invite to which role. Roles of the platform are given in the platform's own tenant only.
MAY_GRANT: Final[Mapping[str, frozenset[str]]] = {
    CLINIC_ADMIN: frozenset({DOCTOR, STAFF, CLINIC_ADMIN}),
    PLATFORM_ADMIN: frozenset({PLATFORM_ADMIN, FINANCE, SUPPORT}),
}


# In whose name somebody of several roles acts, as the audit trail says it.
_RANK: Final = (PLATFORM_ADMIN, CLINIC_ADMIN, FINANCE, SUPPORT, STAFF, DOCTOR, PATIENT, GUEST_LINK, ANONYMOUS)


def acting_role(roles: Iterable[str]) -> str:
    """The weightiest of ``roles``. ValueError when there is none."""
    return min(roles, key=_RANK.index)


class RoleNarrowing(Struct, frozen=True):
    """What a tenant takes away from one role."""

    withhold: tuple[str, ...] = ()


def implied(right: str) -> tuple[str, ...]:
    """``right`` and the weaker names that come with it."""
    if right == "appointment.override":  # opens the doors of these routes; their handlers then ask for the reason
        return (right, "appointment.book", "appointment.reschedule", "appointment.cancel")
    base, _, scope = right.rpartition(".")
    if scope == "clinic":
        return (right, f"{base}.own", base)
    if scope == "own":
        return (right, base)
    return (right,)


def narrowing(policy: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """What ``tenant.policy`` withholds from each role; one that cannot be read withholds nothing.

    So it is checked when it is written (`check_narrowing`).
    """
    try:
        read = msgspec.convert(policy.get("rights", {}), dict[str, RoleNarrowing])
    except msgspec.ValidationError:
        return {}
    return {role: frozenset(each.withhold) for role, each in read.items()}


def check_narrowing(policy: Mapping[str, object]) -> None:
    """ValueError that names the first role or right in ``policy`` that does not exist."""
    try:
        read = msgspec.convert(policy.get("rights", {}), dict[str, RoleNarrowing])
    except msgspec.ValidationError as error:
        raise ValueError(f"rights: {error}") from None
    for role, each in read.items():
        if role not in ROLES:
            raise ValueError(f"rights: there is no role {role}")
        for right in each.withhold:
            if right not in ALL_NAMES:
                raise ValueError(f"rights: there is no right {right}")


def rights_of(roles: Iterable[str], policy: Mapping[str, object] | None = None) -> frozenset[str]:
    """All names that ``roles`` hold, weaker ones included, less what ``policy`` (of the tenant) withholds."""
    withheld = narrowing(policy or {})
    held: set[str] = set()
    for role in roles:
        taken = withheld.get(role, frozenset())
        for right in MATRIX.get(role, ()):
            held.update(() if taken & set(implied(right)) else implied(right))
    return frozenset(held)


ALL_NAMES: Final = frozenset(name for right in RIGHTS for name in implied(right))
