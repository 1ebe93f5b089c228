"""Access tokens over HTTP: attacks, other clinics, revocation across servers, what is kept in memory, key rotation."""

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from joserfc import jws

from backplane.bus import BusUnavailable
from backplane.keys import Authority, KeyRing, SigningKey, TokenKind
from booking.identity import access
from booking.identity.access import AUDIENCE, AccessClaims
from booking.identity.key_store import KeyStore
from booking.identity.service import Identity
from booking.tenants import Tenants
from tests.support.identity import SEALER, House

AMINA = "amina@example.com"


def claims_of(token: str) -> AccessClaims:
    return msgspec.json.decode(jws.extract_compact(token.encode()).payload, type=AccessClaims)


async def test_a_token_is_refused_at_another_clinic(served: House) -> None:
    signed_in = await served.sign_in(AMINA)
    assert (await served.ask("GET", "/v1/me", token=signed_in["access_token"], host="b.localhost")).code == "bad_token"


async def test_tokens_of_other_kinds_keys_and_times_are_refused(served: House) -> None:
    token = (await served.sign_in(AMINA))["access_token"]
    claims = claims_of(token)
    ours, now = served.identity.authority, served.clock()
    stranger = Authority(ours.issuer, KeyRing([SigningKey.generate(now)]))
    elsewhere = Authority("other", ours.ring)
    minute = timedelta(minutes=1)
    forged = [
        ours.sign(TokenKind.JOIN, AUDIENCE, claims, now, minute),
        ours.sign(TokenKind.ACCESS, "wadud.invite", claims, now, minute),
        stranger.sign(TokenKind.ACCESS, AUDIENCE, claims, now, minute),
        elsewhere.sign(TokenKind.ACCESS, AUDIENCE, claims, now, minute),
        token[:-3] + "abc",
        "x",
        "",
    ]
    for each in forged:
        assert (await served.ask("GET", "/v1/me", token=each)).code == "bad_token"
    basic = await served.ask("GET", "/v1/me", headers={"Authorization": f"Basic {token}"})
    assert basic.code == "bad_token"
    served.clock.turn(minutes=10)
    assert (await served.ask("GET", "/v1/me", token=token)).code == "token_expired"
    assert (await served.ask("GET", "/v1/me")).code == "unauthorized"


async def test_a_token_with_a_session_of_another_changes_nothing(served: House) -> None:
    mine, theirs = await served.sign_in(AMINA), await served.sign_in("omar@example.com")
    mixed = served.identity.access.issue(
        UUID(mine["person"]), 1000, ["patient"], UUID(theirs["session"]), [], served.clock()
    )
    assert (await served.ask("PATCH", "/v1/me", {"name": "X"}, token=mixed)).code == "session_ended"


async def test_an_expired_token_does_not_stand_in_the_way_of_a_new_one(served: House) -> None:
    signed_in = await served.sign_in(AMINA)
    served.clock.turn(minutes=11)
    body = {"refresh_token": signed_in["refresh_token"]}
    answer = await served.ask("POST", "/v1/auth/refresh", body, token=signed_in["access_token"])
    assert answer.status == 200


async def test_a_session_revoked_by_another_server_is_refused(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "DOUBT_S", 0.0)
    other = Identity(served.db, served.bus, SEALER, Tenants(served.db, served.clock), served.clock)
    signed_in = await served.sign_in(AMINA)
    token = signed_in["access_token"]
    assert (await served.ask("GET", "/v1/me", token=token)).status == 200
    await other.void([UUID(signed_in["session"])])
    assert (await served.ask("GET", "/v1/me", token=token)).code == "session_ended"
    await other.close()


async def test_a_change_asks_the_database_even_when_nobody_told_the_bus(served: House) -> None:
    signed_in = await served.sign_in(AMINA)
    token = signed_in["access_token"]
    async with served.db.platform() as connection:
        await connection.execute(
            "UPDATE session SET revoked_at = $1, revoked_cause = 'admin' WHERE id = $2",
            served.clock(),
            UUID(signed_in["session"]),
        )
    assert (await served.ask("PATCH", "/v1/me", {"name": "X"}, token=token)).code == "session_ended"


async def test_without_the_bus_the_database_is_asked_for_reads_too(
    served: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in = await served.sign_in(AMINA)

    async def gone(key: str) -> bytes | None:
        raise BusUnavailable

    monkeypatch.setattr(served.bus, "get", gone)
    assert (await served.ask("GET", "/v1/me", token=signed_in["access_token"])).status == 200
    async with served.db.platform() as connection:
        await connection.execute("UPDATE session SET revoked_at = $1, revoked_cause = 'admin'", served.clock())
    assert (await served.ask("GET", "/v1/me", token=signed_in["access_token"])).code == "session_ended"


async def test_a_closed_account_has_no_way_on(served: House) -> None:
    signed_in = await served.sign_in(AMINA)
    async with served.db.platform() as connection:
        await connection.execute("UPDATE person SET disabled_at = $1", served.clock())
    token = signed_in["access_token"]
    assert (await served.ask("PATCH", "/v1/me", {"name": "X"}, token=token)).code == "session_ended"
    body = {"refresh_token": signed_in["refresh_token"]}
    assert (await served.ask("POST", "/v1/auth/refresh", body)).status == 401
    again = await served.ask("POST", "/v1/auth/otp/verify", await served.code(AMINA))
    assert again.code == "account_disabled"


async def test_what_is_kept_of_tokens_is_bounded(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MAX_KEPT", 3)
    signed_in = await served.sign_in(AMINA)
    person, session = UUID(signed_in["person"]), UUID(signed_in["session"])
    for _ in range(6):
        token = served.identity.access.issue(person, 1000, ["patient"], session, [], served.clock())
        assert (await served.ask("GET", "/v1/me", token=token)).status == 200
    assert len(served.identity.access._kept) == 3


async def test_a_policy_that_narrows_counts_for_tokens_that_are_out(served: House) -> None:
    staff = await served.with_role("staff@example.com", "staff")
    assert (await served.ask("GET", "/v1/memberships", token=staff["access_token"])).status == 200
    admin = await served.with_role("boss@example.com", "clinic_admin")
    policy = {"rights": {"staff": {"withhold": ["membership.read.clinic"]}}}
    changed = await served.ask("PATCH", "/v1/clinic", {"policy": policy}, token=admin["access_token"])
    assert changed.status == 200
    assert (await served.ask("GET", "/v1/memberships", token=staff["access_token"])).code == "forbidden"
    assert (await served.ask("GET", "/v1/memberships", token=admin["access_token"])).status == 200


async def test_a_policy_that_would_widen_or_misspells_is_refused(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    for policy in ({"rights": {"staff": {"withhold": ["x.y"]}}}, {"rights": []}, {"second_factor": ["x"]}):
        answer = await served.ask("PATCH", "/v1/clinic", {"policy": policy}, token=admin["access_token"])
        assert answer.code == "bad_policy"


async def test_two_servers_make_one_key_and_know_each_others(served: House) -> None:
    import asyncio

    async with served.db.platform() as connection:
        await connection.execute("DELETE FROM signing_key")
    stores = [KeyStore(served.db, SEALER, Authority("wadud", KeyRing()), served.clock) for _ in range(4)]
    await asyncio.gather(*(store.tend() for store in stores))
    assert {len(store.authority.ring) for store in stores} == {1}


async def test_tokens_survive_a_rotation_and_a_strange_key_is_looked_up(served: House) -> None:
    before = (await served.sign_in(AMINA))["access_token"]
    other = KeyStore(served.db, SEALER, Authority("wadud", KeyRing()), served.clock)
    await other.tend()
    await other.rotate()
    served.clock.turn(minutes=6)
    claims = AccessClaims(UUID(int=1), 1000, ("patient",), UUID(int=2), (), uuid4())
    after = other.authority.sign(TokenKind.ACCESS, AUDIENCE, claims, served.clock(), timedelta(minutes=5))
    assert (await served.ask("GET", "/v1/me/sessions", token=before)).status == 200
    assert (await served.ask("GET", "/v1/me/sessions", token=after)).status == 200
    published = (await served.ask("GET", "/.well-known/jwks.json")).body["keys"]
    assert len(published) == 2
    assert not any("d" in key for key in published)


async def test_private_keys_are_sealed_in_the_database(served: House) -> None:
    async with served.db.platform() as connection:
        text = await connection.fetchval("SELECT string_agg(signing_key::text, ' ') FROM signing_key")
    assert '"d"' not in text
