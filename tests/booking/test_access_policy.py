"""Who may see or do what, as rules without a database."""

from uuid import UUID

import pytest

from backplane.principal import Principal
from booking import access_policy
from booking.access_policy import Stake
from booking.appointments.machine import CLINIC, PATIENT, PROVIDER, Party
from booking.rights import rights_of

PERSON = UUID(int=7)


def who(role: str) -> Principal:
    return Principal(PERSON, 1000, frozenset({role}), rights_of([role]), PERSON)


def stake(*, held: bool = False, seated: bool = False, care: tuple[str, ...] = (), **is_: bool) -> Stake:
    found = {"is_patient": False, "is_doctor": False, "booked": False} | is_
    return Stake(held=held, seated=seated, care=care, **found)


@pytest.mark.parametrize(
    "role, of, knows, private, named",
    [
        ("patient", stake(), False, False, False),
        ("patient", stake(is_patient=True), True, True, True),
        ("patient", stake(care=("read",)), True, True, True),
        ("patient", stake(care=("book",)), True, False, True),  # what the patient wrote is not for them
        ("patient", stake(care=("book",), booked=True), True, True, True),
        ("patient", stake(held=True, booked=True), False, False, False),  # held for somebody of before
        ("patient", stake(seated=True), True, False, False),
        ("doctor", stake(is_doctor=True), True, True, True),
        ("staff", stake(), True, False, True),
        ("staff", stake(held=True, booked=True), True, True, True),
    ],
)
def test_what_is_seen_of_an_appointment(role: str, of: Stake, knows: bool, private: bool, named: bool) -> None:
    asker = who(role)
    seen = (
        access_policy.knows_of_appointment(asker, of),
        access_policy.sees_private_words(asker, of),
        access_policy.sees_patients_name(asker, of),
    )
    assert seen == (knows, private, named)


@pytest.mark.parametrize(
    "role, of, action, parties",
    [
        ("patient", stake(is_patient=True), "cancel", [PATIENT]),
        ("patient", stake(care=("read",)), "cancel", []),
        ("doctor", stake(is_doctor=True), "cancel", [PROVIDER]),
        ("doctor", stake(), "cancel", []),
        ("staff", stake(), "cancel", [CLINIC]),
        ("staff", stake(), "start", []),
        ("finance", stake(is_patient=True), "cancel", []),
    ],
)
def test_as_what_somebody_acts(role: str, of: Stake, action: str, parties: list[Party]) -> None:
    assert access_policy.parties_for(who(role), of, action) == parties


def test_nobody_books_for_whom_they_do_not_care_for() -> None:
    assert access_policy.party_to_book(who("patient"), cares=True, known=True) is PATIENT
    assert access_policy.party_to_book(who("patient"), cares=False, known=True) is None
    assert access_policy.party_to_book(who("staff"), cares=False, known=True) is CLINIC
