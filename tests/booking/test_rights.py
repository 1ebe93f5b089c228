"""The matrix of rights: BOOKING 3.14 as a table, narrowing by a tenant, and that nothing in it is misspelt."""

import re

import pytest

from booking.rights import (
    ALL_NAMES,
    MATRIX,
    MAY_GRANT,
    MEMBER_ROLES,
    RIGHTS,
    ROLES,
    acting_role,
    check_narrowing,
    implied,
    rights_of,
)

COLUMNS = (
    "anonymous",
    "guest_link",
    "patient",
    "doctor",
    "staff",
    "clinic_admin",
    "platform_admin",
    "finance",
    "support",
)
# One line per right that a route asks for; "x" in the column of a role that holds it.
TABLE = """
account.manage              . . x x x x x x x
dependant.manage            . . x . . . . . .
appointment.hold            x . x x x x . . x
appointment.book            x . x x x x x . x
appointment.book.own        x . x x x x . . x
appointment.book.clinic     . . . . x x . . x
payment.pay                 x x x x x x . . .
visit.join                  x x x x . . . . .
link.create.own             x x x x x x . . .
link.create.clinic          . . . . x x . . .
visit.host                  . . . x . . . . .
queue.manage                . . . x x x . . .
queue.manage.clinic         . . . . x x . . .
record.read                 . x x x . . . . .
record.break_glass          . . . . . . x . .
appointment.cancel          x x x x x x x . x
appointment.cancel.clinic   . . . . x x . . .
appointment.reschedule      . x x x x x x . x
appointment.override        . . . . . x x . x
refund.request              . . x . . . . . .
refund.propose              . . . x x x . x x
refund.decide               . . . . . x x x .
payout.read                 . . . x . x x x .
payout.create               . . . . . . . x .
payout.approve              . . . . . . x . .
provider.verify             . . . . . . x . .
provider.manage.clinic      . . . . . x . . .
schedule.manage             . . . x x x . . .
clinic.manage               . . . . . x . . .
membership.manage           . . . . . x x . .
tenant.manage               . . . . . . x . .
person.impersonate          . . . . . . x . x
"""
LINES = [line.split() for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize("right, marks", [(name, marks) for name, *marks in LINES])
def test_the_matrix_says(right: str, marks: list[str]) -> None:
    assert right in ALL_NAMES
    holders = {role for role in COLUMNS if right in rights_of([role])}
    assert holders == {role for role, mark in zip(COLUMNS, marks, strict=True) if mark == "x"}


def test_every_name_is_known_and_every_right_is_held_by_somebody() -> None:
    assert set(COLUMNS) == ROLES
    used = {right for rights in MATRIX.values() for right in rights}
    assert used <= set(RIGHTS)
    held = {name for role in ROLES for name in rights_of([role])}
    assert held >= set(RIGHTS) - {"record.read.clinic"}  # a grant of the clinical part, later
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+(\.(own|clinic))?", right) for right in RIGHTS)


def test_a_wider_scope_brings_the_narrower_ones() -> None:
    assert implied("appointment.cancel.clinic") == (
        "appointment.cancel.clinic",
        "appointment.cancel.own",
        "appointment.cancel",
    )
    assert implied("tenant.manage") == ("tenant.manage",)


def test_a_tenant_narrows_one_role_and_leaves_the_others() -> None:
    policy = {"rights": {"staff": {"withhold": ["appointment.cancel.clinic"]}}}
    assert "appointment.cancel" not in rights_of(["staff"], policy)
    assert "appointment.cancel.clinic" in rights_of(["clinic_admin"], policy)
    assert "appointment.cancel.own" in rights_of(["staff", "patient"], policy)
    assert "appointment.cancel.clinic" not in rights_of(["staff", "patient"], policy)


def test_withholding_a_narrow_scope_takes_the_wide_one_too() -> None:
    policy = {"rights": {"staff": {"withhold": ["appointment.cancel"]}}}
    assert "appointment.cancel.clinic" not in rights_of(["staff"], policy)


def test_no_policy_widens() -> None:
    everything = {role: {"withhold": [], "grant": sorted(RIGHTS)} for role in ROLES}
    for role in ROLES:
        assert rights_of([role], {"rights": everything}) <= rights_of([role])


@pytest.mark.parametrize(
    "rights",
    [{"stuff": {"withhold": []}}, {"staff": {"withhold": ["appointment.fly"]}}, {"staff": ["x"]}, []],
)
def test_a_policy_with_a_mistake_is_refused(rights: object) -> None:
    with pytest.raises(ValueError, match="rights"):
        check_narrowing({"rights": rights})


def test_an_unknown_role_holds_nothing_and_nobody_grants_more_than_membership() -> None:
    assert rights_of(["root", ""]) == frozenset()
    assert set().union(*MAY_GRANT.values()) == MEMBER_ROLES


def test_who_has_several_roles_acts_in_the_weightiest() -> None:
    assert acting_role({"patient", "clinic_admin", "doctor"}) == "clinic_admin"
    assert {acting_role([role]) for role in ROLES} == ROLES
