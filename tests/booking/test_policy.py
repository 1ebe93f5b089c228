"""What a change costs, by who and when, as tables."""

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from booking.policy import (
    DEFAULT,
    TENANT_KEYS,
    By,
    Policy,
    Step,
    Tier,
    cancelling,
    check,
    check_tenant,
    missing,
    policy_of,
    rescheduling,
    share,
    steps,
)

START = datetime(2030, 1, 10, 9, 0, tzinfo=UTC)


def before(hours: float) -> datetime:
    return START - timedelta(hours=hours)


@pytest.mark.parametrize(
    "by, hours, allowed, fee_bp",
    [
        ("patient", 240, True, 0),
        ("patient", 24, True, 0),
        ("patient", 23.9, True, 5000),
        ("patient", 2, True, 5000),
        ("patient", 1.9, True, 10_000),
        ("patient", 0, True, 10_000),
        ("patient", -0.1, False, 10_000),
        ("provider", 0.1, True, 0),
        ("provider", -0.5, True, 0),
        ("clinic", -0.5, True, 0),
        ("system", 1, True, 0),
    ],
)
def test_a_cancellation_costs_by_who_and_when(by: By, hours: float, allowed: bool, fee_bp: int) -> None:
    terms = cancelling(DEFAULT, by, START, before(hours))
    assert (terms.allowed, terms.fee_bp, terms.refund_bp) == (allowed, fee_bp, 10_000 - fee_bp)


@pytest.mark.parametrize(
    "policy, expected",
    [
        (DEFAULT, [(24, 0, 1500), (2, 750, 750), (0, 1500, 0)]),
        (Policy(cancel_until_minutes=60), [(24, 0, 1500), (2, 750, 750), (1, 1500, 0)]),
        (Policy(cancel_until_minutes=2880), [(48, 0, 1500)]),
        (Policy(cancel_tiers=(Tier(60, 2500), Tier(0, 2500))), [(0, 375, 1125)]),
        (Policy(cancel_tiers=()), [(0, 1500, 0)]),
    ],
)
def test_what_cancelling_costs_is_told_beforehand_in_steps(
    policy: Policy, expected: list[tuple[int, int, int]]
) -> None:
    told = steps(policy, START, 1500)
    assert told == tuple(Step(before(hours), fee, refund) for hours, fee, refund in expected)
    for step in told:  # the last moment of each costs what was said, and a moment later no more than the next says
        terms = cancelling(policy, "patient", START, step.until)
        assert (terms.allowed, share(1500, terms.fee_bp)) == (True, step.fee_minor)
    assert steps(policy, START, 0) == ()


def test_a_wait_beyond_the_promise_makes_a_cancellation_free() -> None:
    arrived = before(0.25)
    assert cancelling(DEFAULT, "patient", START, before(-0.9), arrived).fee_bp == 10_000
    late = cancelling(DEFAULT, "patient", START, before(-1.01), arrived)
    assert (late.allowed, late.fee_bp) == (True, 0)


@pytest.mark.parametrize(
    "by, hours, so_far, allowed",
    [
        ("patient", 2, 0, True),
        ("patient", 1.9, 0, False),
        ("patient", 48, 2, True),
        ("patient", 48, 3, False),
        ("clinic", 0, 9, True),
        ("provider", 0.1, 9, True),
    ],
)
def test_a_move_is_allowed_by_who_when_and_how_often(by: By, hours: float, so_far: int, allowed: bool) -> None:
    assert rescheduling(DEFAULT, by, START, before(hours), so_far).allowed is allowed


def test_a_missed_visit_costs_the_patient_and_never_for_the_providers_absence() -> None:
    assert missing(DEFAULT, "patient", START).refund_bp == 0
    assert missing(DEFAULT, "provider", START).refund_bp == 10_000
    assert missing(DEFAULT, "patient", START).until == START + timedelta(minutes=10)


def test_a_service_goes_before_its_clinic_and_the_clinic_before_the_defaults() -> None:
    clinic = {"booking": {"hold_minutes": 5, "offer_minutes": 30}, "rights": {}}
    policy = policy_of({"hold_minutes": 7}, clinic)
    assert (policy.hold_minutes, policy.offer_minutes, policy.resume_minutes) == (7, 30, 30)


def test_tiers_may_be_written_in_any_order() -> None:
    tiers = [{"before_minutes": 60, "fee_bp": 2000}, {"before_minutes": 600, "fee_bp": 0}]
    policy = policy_of({"cancel_tiers": tiers}, {})
    assert policy.cancel_tiers == (Tier(600, 0), Tier(60, 2000))
    assert [cancelling(policy, "patient", START, before(h)).fee_bp for h in (11, 5, 0.5)] == [0, 2000, 10_000]


def test_a_policy_that_cannot_be_read_counts_as_not_written() -> None:
    assert policy_of({"hold_minutes": "long"}, {"booking": {"hold_minutes": 0}}) == Policy()


@pytest.mark.parametrize("keys", [{"hold_minutes": 0}, {"holdminutes": 5}, {"cancel_tiers": [{"fee_bp": 20_000}]}])
def test_a_wrong_policy_is_told_when_it_is_written(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="policy"):
        check(keys)


@pytest.mark.parametrize("amount, bp, part", [(1000, 5000, 500), (1001, 5000, 501), (1, 4999, 0), (0, 10_000, 0)])
def test_a_share_is_rounded_once(amount: int, bp: int, part: int) -> None:
    assert share(amount, bp) == part


def test_every_key_of_a_policy_has_a_reader(root: Path) -> None:
    """What is stored and not read is a promise that nobody keeps."""
    read: set[str] = set()
    for path in (root / "booking").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            of = node.value if isinstance(node, ast.Attribute) else None
            if isinstance(node, ast.Attribute) and "policy" in (getattr(of, "id", ""), getattr(of, "attr", "")):
                read.add(node.attr)
    assert set(Policy.__struct_fields__) - read == set()
    sources = "\n".join(path.read_text() for path in (root / "booking").rglob("*.py") if path.name != "policy.py")
    sources += "tenant.get('booking'"  # of `policy_of`, which stands beside the keys
    assert [key for key in sorted(TENANT_KEYS) if not re.search(rf"\.get\([\"']{key}[\"']", sources)] == []


@pytest.mark.parametrize(
    "policy",
    [
        {"booking": {"hold_minutes": 5, "cancel_tiers": [{"before_minutes": 60, "fee_bp": 0}]}},
        {"join": {"birth_year": True}},
        {"second_factor": ["doctor"]},
        {},
    ],
)
def test_a_clinic_may_set_what_somebody_reads(policy: dict[str, object]) -> None:
    check_tenant(policy)


@pytest.mark.parametrize(
    "policy",
    [
        {"booking.hold_minutes": 5},
        {"hold_minutes": 5},
        {"booking": {"hold_minutes": 61}},
        {"booking": {"hold_minutes": "5"}},
        {"booking": {"hold_minute": 5}},
        {"booking": 5},
        {"join": {"birthyear": True}},
        {"join": {"birth_year": 1}},
    ],
)
def test_a_clinic_cannot_set_what_nobody_would_read(policy: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="policy"):
        check_tenant(policy)
