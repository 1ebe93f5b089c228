"""Signing in at an OpenID Connect issuer, and what a bad issuer, a bad browser or a bad link cannot do."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey

from booking.identity.oidc_client import OidcClient, OidcError
from tests.booking.test_identity_people import booked, patient_of
from tests.support.identity import Answered, House
from tests.support.oidc_issuer import CLIENT, SECRET, Issuer, issuer, rsa_key

AMINA = "amina@example.com"


class Trusted:
    """Clinic A trusts the issuer under the name ``idp``."""

    def __init__(self, served: House, issuer: Issuer) -> None:
        self.served = served
        self.issuer = issuer
        self.host = f"a.localhost:{served.client.port}"

    async def trust(self) -> Answered:
        admin = await self.served.with_role("boss@example.com", "clinic_admin")
        body = {"label": "IdP", "issuer": self.issuer.url, "client_id": CLIENT, "client_secret": SECRET}
        return await self.served.ask("PUT", "/v1/clinic/oidc/idp", body, token=admin["access_token"])

    async def leave(self, return_to: str = "/visits") -> tuple[str, str]:
        """Where the browser is sent, and its cookie."""
        path = f"/v1/auth/oidc/idp/start?{urlencode({'return_to': return_to})}"
        answer = await self.served.ask("GET", path, host=self.host)
        assert answer.status == 302, answer.body
        return answer.headers["Location"], f"wadud-oidc={answer.cookies['wadud-oidc'].value}"

    async def come_back(self, query: dict[str, str], cookie: str) -> Answered:
        return await self.served.ask(
            "GET", f"/v1/auth/oidc/idp/callback?{urlencode(query)}", host=self.host, headers={"Cookie": cookie}
        )

    async def whole(self) -> Answered:
        location, cookie = await self.leave()
        return await self.come_back(self.issuer.authorize(location), cookie)

    async def me(self, callback: Answered) -> dict[str, Any]:
        """Who the session in the cookie is."""
        assert callback.status == 303, callback.body
        cookie = f"wadud-refresh={callback.cookies['wadud-refresh'].value}"
        headers = {"Cookie": cookie, "Origin": f"http://{self.host}"}
        token = (await self.served.ask("POST", "/v1/auth/refresh", host=self.host, headers=headers)).body
        body = (await self.served.ask("GET", "/v1/me", token=token["access_token"])).body
        assert isinstance(body, dict)
        return body


@pytest_asyncio.fixture
async def idp(served: House) -> AsyncIterator[Trusted]:
    async with issuer(served.clock) as running:
        trusted = Trusted(served, running)
        assert (await trusted.trust()).status == 200
        yield trusted


async def test_somebody_new_signs_in_and_comes_back_to_the_same_account(idp: Trusted) -> None:
    first = await idp.whole()
    assert urlsplit(first.headers["Location"]).path == "/visits"
    me = await idp.me(first)
    assert (me["name"], me["roles"]) == ("Amina", ["patient"])
    assert {each["kind"] for each in me["contacts"]} == {"email", "oidc"}
    idp.issuer.person["email"] = "renamed@example.com"
    assert (await idp.me(await idp.whole()))["id"] == me["id"]


async def test_a_verified_address_links_to_the_account_that_has_it(idp: Trusted) -> None:
    known = await idp.served.sign_in(AMINA)
    assert (await idp.me(await idp.whole()))["id"] == known["person"]


async def test_a_visitor_who_comes_back_signed_in_brings_their_visits_along(idp: Trusted) -> None:
    headers = {"Origin": f"http://{idp.host}"}
    began = await idp.served.ask("POST", "/v1/auth/anonymous", {"keep": "cookie"}, host=idp.host, headers=headers)
    appointment = await booked(idp.served, began.body["person"])
    location, cookie = await idp.leave()
    both = f"{cookie}; wadud-refresh={began.cookies['wadud-refresh'].value}"
    me = await idp.me(await idp.come_back(idp.issuer.authorize(location), both))
    assert await patient_of(idp.served, appointment) == [me["id"]] * 2


@pytest.mark.parametrize("verified", [False, None, "false", "yes"])
async def test_an_unverified_address_links_to_nobody(idp: Trusted, verified: object) -> None:
    known = await idp.served.sign_in(AMINA)
    idp.issuer.lies["email_verified"] = verified
    answer = await idp.whole()
    if answer.status == 303:
        me = await idp.me(answer)
        assert me["id"] != known["person"]
        assert [each["kind"] for each in me["contacts"]] == ["oidc"]


LIES: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://accounts.example"},
    "for another client": {"aud": "other"},
    "for two clients": {"aud": [CLIENT, "other"]},
    "authorised for another": {"azp": "other"},
    "another nonce": {"nonce": "stale"},
    "no nonce": {"nonce": None},
    "expired": {"exp": 1},
    "issued long ago": {"iat": 1},
    "no subject": {"sub": ""},
    "a subject that is a number": {"sub": 7},
}


@pytest.mark.parametrize("name", LIES)
async def test_an_id_token_that_does_not_fit_signs_nobody_in(idp: Trusted, name: str) -> None:
    idp.issuer.lies = LIES[name]
    assert (await idp.whole()).code == "provider_failed"


async def test_an_id_token_must_be_signed_by_the_issuer_with_its_own_kind_of_key(idp: Trusted) -> None:
    ours, strange = idp.issuer.key, rsa_key("first", 2)

    def unsigned(claims: dict[str, Any]) -> str:
        parts = ({"alg": "none", "kid": "first"}, claims)
        return (
            ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."
        )

    def hmac_with_the_public_key(claims: dict[str, Any]) -> str:
        key = OctKey.import_key(ours.as_pem(private=False))
        return jwt.encode({"alg": "HS256", "kid": "first"}, claims, key, algorithms=["HS256"])

    def by_a_stranger(claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "first"}, claims, strange, algorithms=["RS256"])

    for signer in (unsigned, hmac_with_the_public_key, by_a_stranger, lambda claims: "rubbish"):
        idp.issuer.signer = signer
        assert (await idp.whole()).code == "provider_failed"


async def test_new_keys_of_the_issuer_are_found(idp: Trusted) -> None:
    await idp.whole()
    idp.issuer.key = rsa_key("second")
    idp.served.clock.turn(minutes=1)
    assert (await idp.whole()).status == 303


async def test_a_sign_in_ends_in_the_browser_that_began_it_and_once(idp: Trusted) -> None:
    location, cookie = await idp.leave()
    query = idp.issuer.authorize(location)
    _, other_cookie = await idp.leave()
    assert (await idp.come_back(query, other_cookie)).code == "bad_state"  # login CSRF
    assert (await idp.come_back(query, cookie)).code == "bad_state"  # the attempt has spent it
    location, cookie = await idp.leave()
    query = idp.issuer.authorize(location)
    assert (await idp.come_back({**query, "state": "forged"}, cookie)).code == "bad_state"
    assert (await idp.come_back({"code": query["code"]}, cookie)).code == "bad_state"
    assert (await idp.come_back(query, cookie)).status == 303
    assert (await idp.come_back(query, cookie)).code == "bad_state"
    location, cookie = await idp.leave()
    idp.served.clock.turn(minutes=10)
    assert (await idp.come_back(idp.issuer.authorize(location), cookie)).code == "bad_state"


async def test_a_code_of_another_sign_in_is_worth_nothing(idp: Trusted) -> None:
    mine, cookie = await idp.leave()
    theirs, _ = await idp.leave()
    mixed = {**idp.issuer.authorize(mine), "code": idp.issuer.authorize(theirs)["code"]}
    assert (await idp.come_back(mixed, cookie)).code == "provider_failed"  # the verifier does not fit (PKCE)


async def test_a_refusal_and_the_name_of_another_issuer_sign_nobody_in(idp: Trusted) -> None:
    for change in ({"error": "access_denied"}, {"iss": "https://evil.example"}):
        location, cookie = await idp.leave()
        answer = await idp.come_back({**idp.issuer.authorize(location), **change}, cookie)
        assert answer.code == "sign_in_refused"
    assert idp.issuer.token_requests == []


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nX: y", "/.//evil.example/x"]
)
async def test_the_way_back_leads_to_our_own_pages(idp: Trusted, path: str) -> None:
    answer = await idp.served.ask("GET", f"/v1/auth/oidc/idp/start?{urlencode({'return_to': path})}", host=idp.host)
    assert answer.code == "bad_request"


async def test_an_issuer_that_calls_itself_otherwise_is_refused(served: House) -> None:
    async with issuer(served.clock) as running:
        running.metadata_lies = {"issuer": "https://accounts.example"}
        assert (await Trusted(served, running).trust()).code == "bad_issuer"


@pytest.mark.parametrize("many", [100, 1])
async def test_an_issuer_with_more_or_larger_keys_than_issuers_have_is_refused(served: House, many: int) -> None:
    """Each of a thousand keys takes a tenth of a millisecond of the event loop, one of 180 KB eighty."""
    async with issuer(served.clock) as other:
        number = "_" * (256 if many > 1 else 100_000)
        other.more_keys = [{"kty": "RSA", "kid": str(n), "n": number, "e": "AQAB"} for n in range(many)]
        with pytest.raises(OidcError, match="bad_keys"):
            await served.identity.oidc.metadata(other.url, served.clock())


async def test_another_clinic_does_not_know_the_issuer(idp: Trusted) -> None:
    listed = await idp.served.ask("GET", "/v1/auth/oidc", host="b.localhost")
    assert listed.body == []
    answer = await idp.served.ask("GET", "/v1/auth/oidc/idp/start", host="b.localhost")
    assert answer.code == "unknown_provider"
    assert (await idp.served.ask("GET", "/v1/auth/oidc")).body == [{"name": "idp", "label": "IdP", "enabled": True}]


@pytest.mark.parametrize(
    "url",
    ["http://accounts.example", "https://127.0.0.1", "https://[::1]/", "https://10.0.0.1", "https://169.254.169.254",
     "file:///etc/passwd", "https://user@accounts.example", "https://[::ffff:127.0.0.1]", "https://[abc",
     "https://[64:ff9b::8.8.8.8]", "https://[2002:808:808::1]",
     "https://[ff0e::1]", "https://168.63.129.16"],
)  # fmt: skip
async def test_an_issuer_is_never_inside(url: str) -> None:
    with pytest.raises(OidcError):
        OidcClient().check_url(url)


async def test_a_name_that_resolves_to_the_inside_is_not_reached(served: House) -> None:
    client = OidcClient()
    with pytest.raises(OidcError, match="issuer_not_public"):
        await client.metadata("https://localhost", served.clock())
    await client.close()
