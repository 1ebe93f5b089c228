"""The table of transitions held against a table written by hand, and its guards at their edges."""

from datetime import UTC, datetime, timedelta

import pytest

from booking.appointments import machine
from booking.appointments.guards import GUARDS, LONGEST_HOLD, Circumstances, hold_is_over, refusal
from booking.appointments.machine import CLINIC, LIVE, PATIENT, PROVIDER, SYSTEM, Party, Status
from booking.policy import DEFAULT
from booking.rights import RIGHTS

START = datetime(2030, 1, 10, 9, 0, tzinfo=UTC)
HELD = Circumstances(DEFAULT, "video", START, START + timedelta(minutes=30), START - timedelta(days=2))

# action: status -> target, for each party that may (P patient, D doctor, C clinic, S system)
EXPECTED = """
hold: - -> held PDCS
extend: held -> held PC
release: held -> expired PCS
expire: held -> expired S
book: - -> confirmed PDCS | held -> confirmed PDCS
request: - -> requested PDCS | held -> requested PDCS
open_class: - -> confirmed PDCS
accept: requested -> confirmed DC
decline: requested -> declined DC
reschedule: requested -> requested P | confirmed -> confirmed P | requested -> confirmed DC | confirmed -> confirmed DC | checked_in -> confirmed DC
reschedule_request: requested -> requested P | confirmed -> requested P
check_in: confirmed -> checked_in PCS
start: confirmed -> in_progress DS | checked_in -> in_progress DS
interrupt: in_progress -> interrupted DS
resume: interrupted -> in_progress DS
complete: in_progress -> completed DCS | interrupted -> completed DCS | confirmed -> completed DC | checked_in -> completed DC
no_show_patient: confirmed -> no_show_patient DCS | checked_in -> no_show_patient DCS
no_show_provider: confirmed -> no_show_provider PCS | checked_in -> no_show_provider PCS
correct_completed: no_show_patient -> completed D | no_show_provider -> completed D | interrupted -> completed D
correct_no_show: completed -> no_show_patient D | interrupted -> no_show_patient D
cancel: requested -> cancelled_by_patient P | confirmed -> cancelled_by_patient P | checked_in -> cancelled_by_patient P | requested -> cancelled_by_provider D | confirmed -> cancelled_by_provider D | checked_in -> cancelled_by_provider D | interrupted -> cancelled_by_provider D | requested -> cancelled_by_clinic C | confirmed -> cancelled_by_clinic C | checked_in -> cancelled_by_clinic C | interrupted -> cancelled_by_clinic C | requested -> cancelled_by_system S | confirmed -> cancelled_by_system S | checked_in -> cancelled_by_system S | interrupted -> cancelled_by_system S
"""  # noqa: E501
LETTERS = {"P": PATIENT, "D": PROVIDER, "C": CLINIC, "S": SYSTEM}


def expected() -> set[tuple[str, str | None, str, Party]]:
    found = set()
    for line in EXPECTED.strip().splitlines():
        action, _, rest = line.partition(": ")
        for part in rest.split(" | "):
            source, _, target, letters = part.split()
            for letter in letters:
                found.add((action, None if source == "-" else source, target, LETTERS[letter]))
    return found


def test_every_status_action_and_party_ends_as_written() -> None:
    table = set()
    for action in machine.ACTIONS:
        for status in (None, *Status):
            for party in Party:
                if row := machine.find(action, status, party):
                    table.add((action, status, row.target or status, party))
    assert table == expected()


def test_what_has_ended_does_not_live_again() -> None:
    ended = set(Status) - LIVE
    for row in machine.TABLE:
        if row.source & ended:
            assert row.target not in LIVE, row


def test_every_guard_exists_and_every_right_is_a_right() -> None:
    for row in machine.TABLE:
        assert set(row.guards) <= set(GUARDS)
        for party in row.parties - {SYSTEM}:
            right = machine.right_of(row.action, party)
            assert right in RIGHTS, (row.action, party, right)


@pytest.mark.parametrize(
    "guard, minutes, code",
    [
        ("check_in_open", -31, "too_early"),
        ("check_in_open", -30, None),
        ("check_in_open", 89, None),
        ("check_in_open", 90, "too_late"),
        ("grace_over", 9, "too_early"),
        ("grace_over", 10, None),
        ("patient_may_cancel", 0, None),
        ("patient_may_cancel", 1, "too_late"),
        ("patient_may_move", -120, None),
        ("patient_may_move", -119, "too_late"),
        ("correctable", 30 + 1439, None),
        ("correctable", 30 + 1440, "too_late"),
        ("begun", -1, "too_early"),
        ("begun", 0, None),
        ("on_site", 0, "not_started"),
    ],
)
def test_a_guard_turns_at_its_edge(guard: str, minutes: int, code: str | None) -> None:
    objection = refusal((guard,), HELD, START + timedelta(minutes=minutes))
    assert (objection and objection.code) == code


def test_an_override_passes_cut_offs_but_not_time_itself() -> None:
    late = START + timedelta(minutes=5)
    assert refusal(("patient_may_cancel",), HELD, late, override=True) is None
    early = START - timedelta(days=1)
    objection = refusal(("check_in_open",), HELD, early, override=True)
    assert objection is not None
    assert objection.code == "too_early"


@pytest.mark.parametrize(
    ("until", "over"),
    [
        (timedelta(0), True),
        (timedelta(seconds=1), False),
        (LONGEST_HOLD, False),
        (timedelta(days=400), True),  # given before the clock was set back
        (-timedelta(days=400), True),
    ],
)
def test_a_hold_ends_and_no_clock_makes_it_last(until: timedelta, over: bool) -> None:
    assert hold_is_over(START + until, START) is over
