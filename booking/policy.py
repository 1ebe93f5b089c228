"""What a clinic, and a service of it, may set about booking: cut-offs, fees, waits. Shares are in basis points.

Keys of ``service.cancel_policy`` go before those of ``tenant.policy["booking"]``, and those before the defaults here,
which follow what telemedicine services of the region publish: free until a day before, half the price until two hours
before, nothing back after that; whatever the provider or the system is to blame for is given back whole, at once.
A policy that cannot be read counts as not written: it is checked when it is written (`check`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

WHOLE_BP: Final = 10_000

Minutes = Annotated[int, Meta(ge=0, le=43_200)]
Share = Annotated[int, Meta(ge=0, le=WHOLE_BP)]
By = Literal["patient", "provider", "clinic", "system"]


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """From ``before_minutes`` before the start on, ``fee_bp`` of the price is kept."""

    before_minutes: Minutes
    fee_bp: Share


class Policy(Struct, frozen=True):
    """Everything about booking that can be set. Keys that are not ours are left alone."""

    cancel_tiers: tuple[Tier, ...] = (Tier(1440, 0), Tier(120, 5000), Tier(0, WHOLE_BP))
    cancel_until_minutes: Minutes = 0  # before the start; the patient cannot cancel later
    reschedule_until_minutes: Minutes = 120
    reschedules_most: Annotated[int, Meta(ge=0, le=50)] = 3  # by the patient
    no_show_fee_bp: Share = WHOLE_BP
    no_show_grace_minutes: Annotated[int, Meta(ge=0, le=240)] = 10
    wait_promise_minutes: Annotated[int, Meta(ge=5, le=480)] = 60  # a longer wait makes a cancellation free
    check_in_minutes: Minutes = 30
    resume_minutes: Annotated[int, Meta(ge=1, le=240)] = 30
    correct_minutes: Minutes = 1440
    hold_minutes: Annotated[int, Meta(ge=1, le=60)] = 10
    hold_extensions: Annotated[int, Meta(ge=0, le=10)] = 2
    holds_most: Annotated[int, Meta(ge=1, le=20)] = 3  # of one person at a time
    offer_minutes: Annotated[int, Meta(ge=1, le=1440)] = 15  # an offer of the waiting list


DEFAULT: Final = Policy()


def policy_of(service: Mapping[str, object], tenant: Mapping[str, object]) -> Policy:
    """The policy of a service, of the two columns that make it."""
    return _read(msgspec.json.encode(tenant.get("booking", {})), msgspec.json.encode(service))


@lru_cache(maxsize=1024)
def _read(tenant: bytes, service: bytes) -> Policy:
    merged: dict[str, object] = {}
    for text in (tenant, service):
        try:
            keys = msgspec.json.decode(text, type=dict[str, object])
            msgspec.convert(keys, Policy)
        except msgspec.ValidationError:
            continue
        merged |= keys
    policy = msgspec.convert(merged, Policy)
    return msgspec.structs.replace(
        policy, cancel_tiers=tuple(sorted(policy.cancel_tiers, key=lambda tier: -tier.before_minutes))
    )


class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """``tenant.policy["join"]``. ``birth_year``: who follows a patient's link is asked for the year of birth."""

    birth_year: bool = False


TENANT_KEYS: Final = frozenset({"booking", "join", "rights", "second_factor"})
"""What a clinic's policy may hold; the last two are looked at by `booking.rights` and `booking.identity.access`."""


def check_tenant(policy: Mapping[str, object]) -> None:
    """ValueError that says what in ``policy``, of a clinic, nobody would read or understand. What cannot be read counts
    as not written, so it must not be written at all."""
    unknown = sorted(set(policy) - TENANT_KEYS)
    if unknown:
        raise ValueError(f"policy: there is no {unknown[0]}; booking keys stand inside of booking")
    booking = policy.get("booking", {})
    if not isinstance(booking, dict):
        raise ValueError("policy: booking is an object")
    check(booking)
    try:
        msgspec.convert(policy.get("join", {}), Join)
    except msgspec.ValidationError as error:
        raise ValueError(f"policy: join: {error}") from None


def check(keys: Mapping[str, object]) -> None:
    """ValueError that says what in ``keys`` cannot be a policy."""
    unknown = sorted(set(keys) - set(Policy.__struct_fields__))
    if unknown:
        raise ValueError(f"policy: there is no {unknown[0]}")
    try:
        msgspec.convert(keys, Policy)
    except msgspec.ValidationError as error:
        raise ValueError(f"policy: {error}") from None


class Terms(Struct, frozen=True):
    """What a change costs. ``fee_bp`` of the price is kept, the rest is given back. ``until``: the last moment at which
    the same would be allowed at all."""

    allowed: bool
    fee_bp: int
    until: datetime

    @property
    def refund_bp(self) -> int:
        return WHOLE_BP - self.fee_bp


def cancelling(policy: Policy, by: By, start: datetime, now: datetime, waiting_since: datetime | None = None) -> Terms:
    """Terms of a cancellation. ``waiting_since``: the patient has checked in and waits."""
    until = start - timedelta(minutes=policy.cancel_until_minutes)
    if by != "patient":
        return Terms(True, 0, start)
    if waiting_since is not None:
        promised = max(waiting_since, start) + timedelta(minutes=policy.wait_promise_minutes)
        if now >= promised:
            return Terms(True, 0, until)
    left = start - now
    fee = next(
        (tier.fee_bp for tier in policy.cancel_tiers if left >= timedelta(minutes=tier.before_minutes)), WHOLE_BP
    )
    return Terms(now <= until, fee, until)


class Step(Struct, frozen=True):
    """Until that moment, and after the step before, a patient who cancels pays ``fee_minor`` and has the rest back."""

    until: datetime
    fee_minor: int
    refund_minor: int


def steps(policy: Policy, start: datetime, price_minor: int) -> tuple[Step, ...]:
    """What cancelling costs the patient from now until the visit, in order of time; nothing where nothing is paid.

    The last step ends when the patient can cancel no more.
    """
    if price_minor == 0:
        return ()
    last = start - timedelta(minutes=policy.cancel_until_minutes)
    ends = [(start - timedelta(minutes=tier.before_minutes), tier.fee_bp) for tier in policy.cancel_tiers]
    found: list[Step] = []
    for until, fee_bp in [*ends, (last, WHOLE_BP)]:
        fee = share(price_minor, fee_bp)
        step = Step(min(until, last), fee, price_minor - fee)
        if found and found[-1].fee_minor == fee:
            found[-1] = step
        elif not found or found[-1].until < step.until:
            found.append(step)
    return tuple(found)


def rescheduling(policy: Policy, by: By, start: datetime, now: datetime, so_far: int) -> Terms:
    """Terms of a move. ``so_far``: how often the patient has moved it already. Moving costs nothing."""
    until = start - timedelta(minutes=policy.reschedule_until_minutes)
    return Terms(by != "patient" or (now <= until and so_far < policy.reschedules_most), 0, until)


def missing(policy: Policy, who: Literal["patient", "provider"], start: datetime) -> Terms:
    """Terms of a no-show; ``until`` is when it may be said first."""
    fee = policy.no_show_fee_bp if who == "patient" else 0
    return Terms(True, fee, start + timedelta(minutes=policy.no_show_grace_minutes))


def share(amount_minor: int, bp: int) -> int:
    """``bp`` of an amount, rounded half up once."""
    return (amount_minor * bp + WHOLE_BP // 2) // WHOLE_BP
