"""Who may see or do what with an appointment, a visit, a line, a provider: every rule, and nothing but rules.

A right (`booking.rights`) says what somebody may do; whose things it is about is said here. No rule reads a clock, a
database or a request: the caller has read the facts, asks, and refuses in its own words. A new kind of thing, such as
a record, gets its rules here before it gets a route.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from backplane.principal import Principal
from booking.appointments import machine
from booking.appointments.machine import CLINIC, PATIENT, PROVIDER, Party


@dataclass(frozen=True, slots=True)
class Stake:
    """What somebody is to one appointment, rights aside. ``care``: what they may do for its patient as a caregiver;
    ``seated``: they, or somebody they care for, have a seat of the class."""

    is_patient: bool
    is_doctor: bool
    booked: bool
    held: bool
    care: Collection[str] = ()
    seated: bool = False

    def relations(self, who: Principal | None = None) -> frozenset[Party]:
        """A caregiver who may book is the patient. Who holds the slot is so too, whoever it is for; but ``who`` no
        longer when they do not care for that patient any more, unless the clinic's rights are theirs."""
        found = set()
        holds = self.held and self.booked and (who is None or who.may("appointment.book.clinic"))
        if self.is_patient or "book" in self.care or holds:
            found.add(PATIENT)
        if self.is_doctor:
            found.add(PROVIDER)
        return frozenset(found)


def sees_clinics_appointments(who: Principal) -> bool:
    return who.may("appointment.read.clinic")


def knows_of_appointment(who: Principal, stake: Stake) -> bool:
    """For others there is no such appointment."""
    return bool(stake.relations(who)) or "read" in stake.care or stake.seated or sees_clinics_appointments(who)


def sees_private_words(who: Principal, stake: Stake) -> bool:
    """Why the patient comes: a caregiver who may book but not read sees what they wrote, not what the patient wrote."""
    reads = "read" in stake.care
    related = bool(stake.relations(who)) or reads
    return related and (stake.is_patient or stake.booked or stake.is_doctor or reads)


def sees_patients_name(who: Principal, stake: Stake) -> bool:
    return bool(stake.relations(who)) or "read" in stake.care or sees_clinics_appointments(who)


def sees_whole_history(who: Principal, stake: Stake, *, is_class: bool) -> bool:
    """Of a class a patient sees what they did themselves."""
    return not is_class or stake.is_doctor or sees_clinics_appointments(who)


def sees_every_seat(who: Principal, stake: Stake) -> bool:
    return stake.is_doctor or who.may("class.manage.clinic")


def parties_for(who: Principal, stake: Stake, action: str, *, override: bool = False) -> list[Party]:
    """As what ``who`` may ever do ``action`` to an appointment. ``override``: past the rights of the action itself."""
    allowed = []
    relations = stake.relations(who)
    for party in (PATIENT, PROVIDER):
        right = machine.right_of(action, party)
        if party in relations and right is not None and who.may(right):
            allowed.append(party)
    right = machine.right_of(action, CLINIC)
    clinic = override or (right is not None and who.may(right) and sees_clinics_appointments(who))
    if clinic and CLINIC in machine.parties_of(action):
        allowed.append(CLINIC)
    return allowed


def party_to_book(who: Principal, *, cares: bool, known: bool, override: bool = False) -> Party | None:
    """As what ``who`` books. ``cares``: for themselves or somebody they may book for; ``known``: who is a person of the
    clinic."""
    if cares and known and who.may("appointment.book.own"):
        return PATIENT
    return CLINIC if override or who.may("appointment.book.clinic") else None


def party_to_run_class(who: Principal, *, is_host: bool) -> Party | None:
    if is_host and who.may("class.manage.own"):
        return PROVIDER
    return CLINIC if who.may("class.manage.clinic") else None


def party_to_give_back_seat(who: Principal, *, is_own: bool, is_host: bool) -> Party | None:
    if is_own and who.may("appointment.cancel.own"):
        return PATIENT
    return party_to_run_class(who, is_host=is_host)


def runs_line(who: Principal, *, is_own: bool) -> bool:
    """A doctor's line of those who wait, and the visits in it."""
    return is_own or who.may("queue.manage.clinic")


def manages_hours(who: Principal, person: UUID) -> bool:
    """The opening hours of the provider who is ``person``."""
    return person == who.person or who.may("schedule.manage.clinic")


def manages_provider(who: Principal, person: UUID) -> bool:
    """Profile and services of the provider who is ``person``; an applicant is no doctor yet."""
    own = who.may("provider.apply") or who.may("provider.manage.own")
    return (person == who.person and own) or who.may("provider.manage.clinic")
