"""How often somebody may try to be somebody: the rule against guessing that nobody can turn into a lock-out.

Whoever tries is counted by what they have in hand, the first that fits:

1. A *known device* (`booking.identity.devices`), or a session for what is done inside one, is counted by itself.
   Nothing that others do elsewhere stops it, and it stops nobody else.
2. A *stranger* is counted for the pair of account and address, and for the account over all strangers.

The long-run rate of a pair is that of the account, and its burst a fraction: one address can use up its own share and
what comes in anew, never the rest, so it takes a dozen networks to lock strangers out of one account. They still have
their other ways in: a known device, a code by mail, a passkey, a recovery code (80 random bits, which need no limit but
that of the address). Every try is counted before anything is compared, and every address has a limit over all accounts.

What a guesser with any number of networks gets, per account and day: 100 passwords at once and then 96 (NIST SP
800-63B-4 section 3.2.2 allows 100 failures in a row); of an app's six digits 100 (RFC 6238 takes three of a million at
a time, so 3 in 10,000; the first factor must be known as well); of mailed codes 15 tickets and then 144, with five
tries each, so 7 in 10,000.
"""

from typing import Final, Literal

from msgspec import Struct

What = Literal["login", "factor", "code"]


class Pace(Struct, frozen=True):
    """So often at once, so often in the long run."""

    burst: int
    per_s: float


class Throttle(Struct, frozen=True):
    """For one device; for one address at one account; for all strangers at one account."""

    device: Pace
    pair: Pace
    account: Pace


LOGIN: Final = Throttle(device=Pace(10, 1 / 60), pair=Pace(10, 1 / 900), account=Pace(100, 1 / 900))
FACTOR: Final = Throttle(device=Pace(5, 1 / 300), pair=Pace(5, 1 / 300), account=Pace(20, 1 / 300))
CODE: Final = Throttle(device=Pace(5, 1 / 600), pair=Pace(5, 1 / 600), account=Pace(15, 1 / 600))
