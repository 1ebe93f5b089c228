"""Everything that identity stands on, put together once per server and found by handlers at ``app[IDENTITY]``."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from backplane.bus import Bus
from backplane.keys import Authority, KeyRing
from backplane.postgres import Database
from backplane.ratelimit import address_key
from backplane.routes import Call
from backplane.sealed import Sealer
from booking.identity.access import Access, Denylist
from booking.identity.courier import Courier, JobCourier
from booking.identity.devices import known_device
from booking.identity.key_store import KeyStore
from booking.identity.oidc_client import OidcClient
from booking.identity.passwords import Passwords
from booking.identity.refresh import sweep
from booking.identity.throttle import CODE, FACTOR, LOGIN, Pace, Throttle, What
from booking.refusals import TooMany
from booking.tenants import Tenants

ISSUER: Final = "wadud"


class Paces(Struct, frozen=True):
    """How often addresses and people may try (`booking.identity.throttle` has the rule). Addresses are generous: a
    clinic's waiting room shares one."""

    code_per_address: Pace = Pace(30, 1 / 10)
    code_per_person: Pace = Pace(5, 1 / 600)
    try_per_address: Pace = Pace(60, 1.0)
    login_per_address: Pace = Pace(60, 1 / 2)
    visitor_per_address: Pace = Pace(60, 1 / 2)
    login: Throttle = LOGIN
    factor: Throttle = FACTOR
    code: Throttle = CODE


class Identity:
    """The parts. `open` makes them; `tend` wants to be called every few minutes."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        sealer: Sealer,
        tenants: Tenants,
        clock: Callable[[], datetime],
        *,
        issuer: str = ISSUER,
        courier: Courier | None = None,
        passwords: Passwords | None = None,
        oidc: OidcClient | None = None,
        paces: Paces | None = None,
    ) -> None:
        self._db = db
        self._bus = bus
        self._clock = clock
        self.sealer = sealer
        self.tenants = tenants
        self.authority = Authority(issuer, KeyRing())
        self.keys = KeyStore(db, sealer, self.authority, clock)
        self.denylist = Denylist(bus)
        self.access = Access(db, self.authority, self.keys, self.denylist, clock)
        self.passwords = passwords or Passwords()
        self.courier = courier or JobCourier(sealer)
        self.oidc = oidc or OidcClient()
        self.paces = paces or Paces()

    @classmethod
    async def open(
        cls,
        db: Database,
        bus: Bus,
        data: Path,
        tenants: Tenants,
        clock: Callable[[], datetime],
        *,
        issuer: str = ISSUER,
        paces: Paces | None = None,
    ) -> "Identity":
        """With the key in ``data``; signing keys are there when it returns."""
        made = cls(db, bus, Sealer.open(data), tenants, clock, issuer=issuer, paces=paces)
        await made.keys.tend()
        return made

    async def tend(self) -> None:
        """Make the next signing key in time, forget what ended long ago."""
        await self.keys.tend()
        async with self._db.platform() as connection:
            await sweep(connection, self._clock())

    async def close(self) -> None:
        self.passwords.close()
        await self.oidc.close()

    async def allow(self, name: str, key: str, pace: Pace) -> None:
        """TooMany when ``key`` is too fast. The key is not kept in the clear: it may be a contact."""
        secret = self.sealer.mac("pace", name, key)[:16].hex()
        verdict = await self._bus.allow(f"pace:{name}:{secret}", pace.per_s, pace.burst)
        if not verdict:
            wait_s = max(1, math.ceil(verdict.retry_after_s))
            raise TooMany("rate_limited", "Too many tries. Wait, or come in another way.", retry_after_s=wait_s)

    async def allow_try(
        self, call: Call, what: What, account: str, person: UUID | None, session: UUID | None = None
    ) -> bool:
        """Count a try at ``account``, which is ``person``'s or nobody's, by the rule of `booking.identity.throttle`.
        ``session``: that it is done in. Returns whether it was counted for strangers. TooMany."""
        pace: Throttle = getattr(self.paces, what)
        device = None if session is None else str(session)
        if device is None and person is not None:
            device = known_device(call.request, self.sealer, call.tenant.id, person, call.now)
        name = f"{call.tenant.id} {account}"
        if device is not None:
            await self.allow(f"{what} device", f"{name} {device}", pace.device)
            return False
        await self.allow(f"{what} pair", f"{name} {address_of(call)}", pace.pair)
        await self.allow(f"{what} account", name, pace.account)
        return True

    async def void(self, sessions: Sequence[UUID]) -> None:
        """Tell every server that tokens of ``sessions`` issued until now are void; belongs after the commit."""
        await self.denylist.add(sessions, self._clock())


IDENTITY: Final = web.AppKey("identity", Identity)


def identity_of(call: Call) -> Identity:
    return call.request.app[IDENTITY]


def address_of(call: Call) -> str:
    """Whom limits per address mean."""
    return address_key(call.request.remote or "")
