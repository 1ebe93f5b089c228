"""Signed tokens: what proves something, what does not, and keys that change while tokens live."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from joserfc.jwk import ECKey
from msgspec import Struct

from backplane.keys import Authority, KeyRing, SigningKey, TokenError, TokenKind, UnknownKeyError
from backplane.sealed import Sealer, SealError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = SigningKey.generate(NOW)


class Who(Struct, frozen=True):
    sub: str


def authority(*keys: SigningKey) -> Authority:
    return Authority("wadud", KeyRing(keys or (KEY,)))


def verify(token: str, now: datetime = NOW, kind: TokenKind = TokenKind.ACCESS, audience: str = "api") -> Who:
    return authority().verify(kind, audience, token, Who, now)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def good() -> str:
    return authority().sign(TokenKind.ACCESS, "api", Who("x"), NOW, 10 * MINUTE)


def claims(**changes: object) -> dict[str, object]:
    moment = NOW.timestamp()
    return {"sub": "x", "iss": "wadud", "aud": "api", "iat": moment, "nbf": moment, "exp": moment + 600, **changes}


def signed(payload: dict[str, object], key: SigningKey = KEY, **headers: object) -> str:
    """Signed by an independent library with our own key."""
    header = {"typ": "at+jwt", "kid": key.kid, **headers}
    return jwt.encode(payload, key.pair.as_pem(private=True), algorithm="ES256", headers=header)


def test_a_token_says_who() -> None:
    assert verify(good()) == Who("x")
    assert verify(signed(claims())) == Who("x")


def test_a_token_ends_with_its_time_to_the_second() -> None:
    assert verify(good(), NOW + 10 * MINUTE - timedelta(seconds=1))
    with pytest.raises(TokenError, match="token_expired"):
        verify(good(), NOW + 10 * MINUTE)


def test_no_kind_of_token_stands_in_for_another() -> None:
    for kind in TokenKind:
        token = authority().sign(kind, "api", Who("x"), NOW, MINUTE)
        for asked in set(TokenKind) - {kind}:
            with pytest.raises(TokenError, match="bad_token"):
                verify(token, kind=asked)


def hs256_with_the_public_key() -> str:
    import hashlib
    import hmac

    body = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': KEY.kid})}.{part(claims())}"
    mac = hmac.digest(KEY.pair.as_pem(private=False), body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def with_header(**changes: object) -> str:
    header: dict[str, object] = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid, **changes}
    _, payload, signature = good().split(".")
    return f"{part({name: value for name, value in header.items() if value is not None})}.{payload}.{signature}"


STRANGER = SigningKey.generate(NOW)
ATTACKS: dict[str, str] = {
    "alg none": f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': KEY.kid})}.{part(claims())}.",
    "alg None": f"{part({'alg': 'None', 'typ': 'at+jwt', 'kid': KEY.kid})}.{part(claims())}.",
    "HS256 with the public key": hs256_with_the_public_key(),
    "another algorithm in the header": with_header(alg="ES384"),
    "a key in the header": signed(claims(), STRANGER, kid=KEY.kid, jwk=STRANGER.public_jwk),
    "a URL of keys in the header": signed(claims(), STRANGER, kid=KEY.kid, jku="https://evil.example/jwks.json"),
    "a certificate in the header": signed(claims(), x5u="https://evil.example/c.pem"),
    "an extension that must be understood": signed(claims(), crit=["exp"]),
    "another's signature under our kid": signed(claims(), STRANGER, kid=KEY.kid),
    "a kid that is a path": signed(claims(), STRANGER, kid="../../../../dev/null"),
    "a kid that is SQL": signed(claims(), STRANGER, kid="x' UNION SELECT 'key"),
    "no kid": with_header(kid=None),
    "a kid that is a list": with_header(kid=[KEY.kid]),
    "no typ": with_header(typ=None),
    "typ JWT": signed(claims(), typ="JWT"),
    "another issuer": signed(claims(iss="evil")),
    "another audience": signed(claims(aud="other")),
    "a list of audiences": signed(claims(aud=["api", "other"])),
    "exp as text": signed(claims(exp="9999999999")),
    "no exp": signed({name: value for name, value in claims().items() if name != "exp"}),
    "a changed payload": f"{good().split('.')[0]}.{part(claims(sub='admin'))}.{good().split('.')[2]}",
    "a cut signature": good()[:-4],
    "no signature": good().rpartition(".")[0] + ".",
    "a zero signature": good().rpartition(".")[0] + "." + "A" * 86,
    "more parts": good() + ".x",
    "nothing": "",
    "not ASCII": "é.é.é",
    "too long": "a" * 5000 + ".b.c",
    "nested to death": f"{base64.urlsafe_b64encode(b'[' * 2000).decode()}.x.x",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_proves_nothing(name: str) -> None:
    with pytest.raises(TokenError, match="bad_token"):
        verify(ATTACKS[name])


def test_a_token_from_the_future_waits() -> None:
    with pytest.raises(TokenError, match="token_not_yet_valid"):
        verify(signed(claims(nbf=NOW.timestamp() + 60)))
    assert verify(signed(claims(nbf=NOW.timestamp() + 5)))


def test_keys_rotate_without_anybody_noticing() -> None:
    """A server that makes keys when they are due and never reads faster than once in half an hour."""
    ring = KeyRing([KEY])
    keys, now, made = [KEY], NOW, 0
    known = ring
    tokens: list[tuple[str, datetime]] = []
    for step in range(24 * 90 * 2):
        now = NOW + step * timedelta(minutes=30)
        if (begins := KeyRing(keys).due(now)) is not None:
            assert begins - now >= timedelta(hours=1)
            keys.append(SigningKey.generate(now, signs_from=begins))
            made += 1
        if step % 40 == 0:
            token = authority(*keys).sign(TokenKind.INVITE, "api", Who("x"), now, timedelta(hours=72))
            tokens.append((token, now))
            tokens = [(each, since) for each, since in tokens if now < since + timedelta(hours=71)]
            for each, _ in tokens:  # with keys that were read half an hour ago
                Authority("wadud", known).verify(TokenKind.INVITE, "api", each, Who, now)
        known = KeyRing(keys)
    assert made == 3


def test_a_retired_key_verifies_nothing() -> None:
    with pytest.raises(UnknownKeyError):
        KeyRing([KEY]).verifier(KEY.kid, KEY.verifies_until)


def test_published_keys_hold_no_private_part() -> None:
    (published,) = KeyRing([KEY]).jwks(NOW)["keys"]
    assert "d" not in published
    assert (published["kid"], published["alg"], published["use"], published["kty"]) == (KEY.kid, "ES256", "sig", "EC")
    public: Any = ECKey.import_key(dict(published))
    timeless = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    assert jwt.decode(good(), public.as_pem(private=False), ["ES256"], audience="api", options=timeless)["sub"] == "x"


def test_sealed_secrets_open_with_key_and_purpose_only() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"secret", "totp")
    assert b"secret" not in sealed.encode()
    assert sealer.unseal(sealed, "totp") == b"secret"
    changed = sealed[:-2] + ("AA" if sealed[-2:] != "AA" else "BB")
    for opener, text, purpose in (
        (sealer, sealed, "other"),
        (Sealer(b"l" * 32), sealed, "totp"),
        (sealer, changed, "totp"),
        (sealer, "", "totp"),
        (sealer, "a.b.c.d.e", "totp"),
    ):
        with pytest.raises(SealError):
            opener.unseal(text, purpose)


def test_fingerprints_depend_on_purpose_and_on_where_parts_end() -> None:
    sealer = Sealer(b"k" * 32)
    different = [("a", "bc"), ("b", "bc"), ("a", "b", "c"), ("a", "", "bc")]
    assert len({sealer.mac(purpose, *parts) for purpose, *parts in different}) == 4


def test_an_invitation_outlives_a_clock_that_is_set_back() -> None:
    """It lies in a mailbox; an access token is fetched again at once, so it is refused."""
    for kind, holds in ((TokenKind.INVITE, True), (TokenKind.ACCESS, False)):
        token = authority().sign(kind, "api", Who("x"), NOW, timedelta(days=3))
        if holds:
            assert verify(token, NOW - 60 * MINUTE, kind) == Who("x")
        else:
            with pytest.raises(TokenError, match="token_not_yet_valid"):
                verify(token, NOW - 60 * MINUTE, kind)
