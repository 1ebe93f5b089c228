"""What must hold before a row of the machine is taken, by name. A guard answers None, or why not in code and words.

Whoever holds the right to override, and says so with a reason, passes all guards but those of `NEVER_PASSED`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from booking import policy
from booking.policy import Policy
from booking.refusals import Conflict


@dataclass(frozen=True, slots=True)
class Circumstances:
    """An appointment as guards see it. ``since``: when it got its present status; ``moved``: moves by the patient."""

    policy: Policy
    kind: str
    starts_at: datetime
    ends_at: datetime
    since: datetime
    hold_until: datetime | None = None
    extended: int = 0
    moved: int = 0
    checked_in_at: datetime | None = None


Guard = Callable[[Circumstances, datetime], Conflict | None]

# No hold is given for longer (`policy.offer_minutes`): one that ends later was given before the clock was set back, and
# must not keep its slot for as long as the clock was ahead.
LONGEST_HOLD: Final = timedelta(hours=25)


def hold_is_over(until: datetime, now: datetime) -> bool:
    """Whether a hold that was given until then keeps nothing any more."""
    return not now < until <= now + LONGEST_HOLD


def _hold_alive(it: Circumstances, now: datetime) -> Conflict | None:
    if it.hold_until is not None and hold_is_over(it.hold_until, now):
        return Conflict("hold_expired", "The time that was kept for you has passed. Choose a slot again.")
    return None


def _hold_over(it: Circumstances, now: datetime) -> Conflict | None:
    if it.hold_until is not None and not hold_is_over(it.hold_until, now):
        return Conflict("hold_alive", "This hold has not ended yet.")
    return None


def _extendable(it: Circumstances, now: datetime) -> Conflict | None:
    if it.extended >= it.policy.hold_extensions:
        return Conflict("no_more_extensions", "This hold was extended as often as it may be. Book now or release it.")
    return None


def _before_end(it: Circumstances, now: datetime) -> Conflict | None:
    if now >= it.ends_at:
        return Conflict("too_late", "This time has passed. Decline the request or offer another time.")
    return None


def _not_begun(it: Circumstances, now: datetime) -> Conflict | None:
    if now >= it.ends_at:
        return Conflict("too_late", "This time has passed. Book a new appointment.")
    return None


def _patient_may_move(it: Circumstances, now: datetime) -> Conflict | None:
    if policy.rescheduling(it.policy, "patient", it.starts_at, now, it.moved).allowed:
        return None
    if it.moved >= it.policy.reschedules_most:
        return Conflict("no_more_reschedules", "This was moved as often as it may be. Ask the clinic, or cancel it.")
    minutes = it.policy.reschedule_until_minutes
    return Conflict("too_late", f"This can be moved until {minutes} minutes before its start. Ask the clinic.")


def _patient_may_cancel(it: Circumstances, now: datetime) -> Conflict | None:
    if policy.cancelling(it.policy, "patient", it.starts_at, now, it.checked_in_at).allowed:
        return None
    minutes = it.policy.cancel_until_minutes
    return Conflict("too_late", f"This can be cancelled until {minutes} minutes before its start. Ask the clinic.")


def _check_in_open(it: Circumstances, now: datetime) -> Conflict | None:
    opens = it.starts_at - timedelta(minutes=it.policy.check_in_minutes)
    if now < opens:
        return Conflict("too_early", f"Arriving begins {it.policy.check_in_minutes} minutes before the start.")
    # a late patient may still be seen: nothing has closed the visit yet
    return None if now < it.ends_at + timedelta(hours=1) else Conflict("too_late", "This time has passed.")


def _near(it: Circumstances, now: datetime) -> Conflict | None:
    if now < it.starts_at - timedelta(minutes=max(it.policy.check_in_minutes, 60)):
        return Conflict("too_early", "It is too early to begin this visit.")
    return None


def _begun(it: Circumstances, now: datetime) -> Conflict | None:
    return None if now >= it.starts_at else Conflict("too_early", "This visit has not begun yet.")


def _on_site(it: Circumstances, now: datetime) -> Conflict | None:
    if it.kind in ("in_person", "class"):
        return None
    return Conflict("not_started", "A visit by call is completed after the call has begun.")


def _grace_over(it: Circumstances, now: datetime) -> Conflict | None:
    grace = it.policy.no_show_grace_minutes
    if now < it.starts_at + timedelta(minutes=grace):
        return Conflict("too_early", f"Wait until {grace} minutes after the start.")
    return None


def _resumable(it: Circumstances, now: datetime) -> Conflict | None:
    if now >= it.since + timedelta(minutes=it.policy.resume_minutes):
        return Conflict("too_late", "The call was lost too long ago to go on. Complete the visit or book another.")
    return None


def _correctable(it: Circumstances, now: datetime) -> Conflict | None:
    if now >= it.ends_at + timedelta(minutes=it.policy.correct_minutes):
        return Conflict("too_late", "This can no longer be corrected. Ask the clinic.")
    return None


GUARDS: Final[Mapping[str, Guard]] = {
    "hold_alive": _hold_alive,
    "hold_over": _hold_over,
    "extendable": _extendable,
    "before_end": _before_end,
    "not_begun": _not_begun,
    "patient_may_move": _patient_may_move,
    "patient_may_cancel": _patient_may_cancel,
    "check_in_open": _check_in_open,
    "near": _near,
    "begun": _begun,
    "on_site": _on_site,
    "grace_over": _grace_over,
    "resumable": _resumable,
    "correctable": _correctable,
}
# What no right changes: a time that has not come, a hold that is nobody's any more.
NEVER_PASSED: Final = frozenset({"hold_alive", "hold_over", "check_in_open", "near", "begun"})


def refusal(names: tuple[str, ...], it: Circumstances, now: datetime, *, override: bool = False) -> Conflict | None:
    """The first objection of the guards of these names."""
    for name in names:
        if override and name not in NEVER_PASSED:
            continue
        if objection := GUARDS[name](it, now):
            return objection
    return None
