"""The talk with an OpenID Connect issuer (OpenID Connect Core 1.0, code flow with PKCE, RFC 7636).

An issuer is an address that an administrator typed, so `backplane.outgoing` fetches it: https only, public addresses
only, no redirects, small answers, short waits.

The issuer is pinned: what discovery, the ID token and the setting say must be one text. An ID token counts when one of
the issuer's own keys signed it with an asymmetric algorithm, it is for us alone, carries the nonce of this sign-in, and
is fresh.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from msgspec import Struct

from backplane.clocks import just_now
from backplane.outgoing import Outgoing, OutgoingError

MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 32  # issuers publish two to five; each is read in a tenth of a millisecond, a large one in many
MAX_KEY_CHARS: Final = 2048  # of one number in Base64url: 12,288 bits
TIMEOUT_S: Final = 10.0
KEPT_FOR: Final = timedelta(hours=1)
REREAD_AFTER: Final = timedelta(seconds=30)
SKEW_S: Final = 60
FRESH_S: Final = 600
_KEY_MEMBERS: Final = frozenset({"kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y"})
ALGORITHMS: Final = ["RS256", "PS256", "ES256", "EdDSA"]

_REASONS: Final = {
    "bad_url": "issuer_not_https",
    "not_public": "issuer_not_public",
    "unreachable": "issuer_unreachable",
    "too_large": "answer_too_large",
}
T = TypeVar("T")


class OidcError(Exception):
    """The issuer cannot be used, or what it said proves nothing. The text is a stable code."""


class Metadata(Struct, frozen=True):
    """OpenID Connect Discovery 1.0 section 3, as far as it is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class IdClaims(Struct, frozen=True):
    """Who the issuer says it is. ``email`` counts only with ``email_verified``."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    iat: float
    nonce: str = ""
    azp: str = ""
    email: str = ""
    email_verified: bool | str = False
    name: str = ""


class _Tokens(Struct, frozen=True):
    id_token: str


class _Kept(Struct):
    metadata: Metadata
    keys: KeySet
    read_at: datetime


class OidcClient:
    """``allow_private``: for tests and for issuers in one's own network."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self._outgoing = (
            Outgoing(TIMEOUT_S, ("https", "http"), lambda _: True, lambda *_: True)
            if allow_private
            else Outgoing(TIMEOUT_S, ("https",), port_allowed=lambda *_: True)
        )
        self._kept: dict[str, _Kept] = {}

    async def close(self) -> None:
        await self._outgoing.close()

    def check_url(self, url: str) -> None:
        """OidcError when we do not go there."""
        try:
            self._outgoing.check(url)
        except OutgoingError as error:
            raise OidcError(_REASONS[str(error)]) from None

    async def metadata(self, issuer: str, now: datetime) -> Metadata:
        """Where the parts of the issuer are. OidcError."""
        return (await self._known(issuer, now)).metadata

    async def authorization_url(
        self, issuer: str, client_id: str, redirect_uri: str, state: str, nonce: str, verifier: str, now: datetime
    ) -> str:
        """Where the browser goes. OidcError."""
        endpoint = (await self.metadata(issuer, now)).authorization_endpoint
        query = urlencode(
            {
                "response_type": "code",
                "client_id": client_id,
                "redirect_uri": redirect_uri,
                "scope": "openid email profile",
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge(verifier),
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def exchange(
        self, issuer: str, client_id: str, secret: str, code: str, verifier: str, redirect_uri: str, now: datetime
    ) -> str:
        """The ID token for ``code``. OidcError."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": client_id,
        }
        headers = {}
        if secret:  # client_secret_basic, RFC 6749 section 2.3.1
            pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        endpoint = (await self.metadata(issuer, now)).token_endpoint
        return (await self._ask(endpoint, _Tokens, form, headers)).id_token

    async def verify(self, issuer: str, client_id: str, token: str, nonce: str, now: datetime) -> IdClaims:
        """What the ID token proves (OpenID Connect Core 3.1.3.7). OidcError."""
        kept = await self._known(issuer, now)
        payload = _signed(token, kept.keys)
        if payload is None and not just_now(kept.read_at, now, REREAD_AFTER):  # the issuer has new keys
            payload = _signed(token, (await self._read(issuer, now)).keys)
        if payload is None:
            raise OidcError("bad_signature")
        try:
            claims = msgspec.json.decode(payload, type=IdClaims)
        except msgspec.MsgspecError:
            raise OidcError("bad_claims") from None
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        moment = now.timestamp()
        if claims.iss != issuer:
            raise OidcError("wrong_issuer")
        if client_id not in audience or (len(audience) > 1 and claims.azp != client_id):
            raise OidcError("wrong_audience")
        if claims.azp not in ("", client_id):
            raise OidcError("wrong_audience")
        if not hmac.compare_digest(claims.nonce.encode(), nonce.encode()):
            raise OidcError("wrong_nonce")
        if moment >= claims.exp + SKEW_S or abs(moment - claims.iat) > FRESH_S:
            raise OidcError("not_fresh")
        if not 1 <= len(claims.sub) <= 255:
            raise OidcError("bad_claims")
        return claims

    async def _known(self, issuer: str, now: datetime) -> _Kept:
        kept = self._kept.get(issuer)
        if kept is not None and just_now(kept.read_at, now, KEPT_FOR):
            return kept
        return await self._read(issuer, now)

    async def _read(self, issuer: str, now: datetime) -> _Kept:
        metadata = await self._ask(f"{issuer.rstrip('/')}/.well-known/openid-configuration", Metadata)
        if metadata.issuer != issuer:
            raise OidcError("wrong_issuer")
        for endpoint in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            self.check_url(endpoint)
        try:
            raw = await self._ask(metadata.jwks_uri, dict[str, list[dict[str, str | list[str]]]])
            usable = [
                {name: value for name, value in key.items() if name in _KEY_MEMBERS}
                for key in raw.get("keys", [])
                if key.get("kty") in ("RSA", "EC", "OKP")
            ]
            if len(usable) > MAX_KEYS or any(len(value) > MAX_KEY_CHARS for key in usable for value in key.values()):
                raise OidcError("bad_keys")
            keys = KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError, KeyError, TypeError):
            raise OidcError("bad_keys") from None
        kept = _Kept(metadata, keys, now)
        self._kept[issuer] = kept
        return kept

    async def _ask(
        self, url: str, model: type[T], form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> T:
        sent = {"Accept": "application/json", **(headers or {})}
        try:
            answer = await self._outgoing.fetch(url, max_bytes=MAX_ANSWER_BYTES, headers=sent, form=form)
        except OutgoingError as error:
            raise OidcError(_REASONS[str(error)]) from None
        if answer.status != 200:
            raise OidcError("issuer_refused")
        try:
            return msgspec.json.decode(answer.body, type=model)
        except msgspec.MsgspecError:
            raise OidcError("bad_answer") from None


def challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _signed(token: str, keys: KeySet) -> bytes | None:
    """The payload when one of ``keys`` signed it."""
    if len(token) > 16 * 1024:
        return None
    try:
        return jws.deserialize_compact(token, keys, algorithms=ALGORITHMS).payload
    except (JoseError, ValueError):
        return None
