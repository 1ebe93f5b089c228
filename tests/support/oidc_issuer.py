"""An OpenID Connect issuer for tests: discovery, keys, token endpoint with PKCE; and a page that signs everybody in.

`lies` changes what the next ID token says; `signer` may sign it otherwise.
"""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "wadud-test"
SECRET = "s3cret:with/odd chars"


@cache
def rsa_key(kid: str, number: int = 0) -> RSAKey:
    """Always the same for the same arguments: to make one takes half a second."""
    return RSAKey.generate_key(2048, {"kid": kid}, private=True)


class Issuer:
    """One issuer at ``url`` with one person."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.url = ""
        self.key = rsa_key("first")
        self.person: dict[str, Any] = {
            "sub": "sub-1", "email": "amina@example.com", "email_verified": True, "name": "Amina",
        }  # fmt: skip
        self.lies: dict[str, Any] = {}
        self.more_keys: list[dict[str, str]] = []
        self.metadata_lies: dict[str, Any] = {}
        self.signer: Callable[[dict[str, Any]], str] = self._signed
        self.codes: dict[str, dict[str, str]] = {}
        self.token_requests: list[dict[str, str]] = []

    def authorize(self, location: str) -> dict[str, str]:
        """What the browser brings back from the page at ``location``: the query of the callback."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert location.startswith(f"{self.url}/authorize?")
        assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return {"state": query["state"], "code": code}

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        return app

    def claims(self, nonce: str) -> dict[str, Any]:
        moment = int(self.clock().timestamp())
        said = {"iss": self.url, "aud": CLIENT, "iat": moment, "exp": moment + 300, "nonce": nonce, **self.person}
        return {name: value for name, value in {**said, **self.lies}.items() if value is not None}

    def _signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key, algorithms=["RS256"])

    async def _discovery(self, request: web.Request) -> web.Response:
        said = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return web.json_response({**said, **self.metadata_lies})

    async def _keys(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"keys": [self.key.as_dict(private=False), {"kty": "oct", "k": "AAAA"}, *self.more_keys]}
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.token_requests.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        expected = base64.b64encode(urlencode({CLIENT: SECRET}).replace("=", ":", 1).replace("+", "%20").encode())
        if request.headers.get("Authorization") != f"Basic {expected.decode()}":
            return web.json_response({"error": "invalid_client"}, status=401)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
            or form.get("grant_type") != "authorization_code"
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = self.signer(self.claims(asked["nonce"]))
        return web.json_response({"id_token": token, "access_token": "x", "token_type": "Bearer"})


@asynccontextmanager
async def issuer(clock: Callable[[], datetime]) -> AsyncIterator[Issuer]:
    """A running one."""
    made = Issuer(clock)
    async with TestServer(made.application()) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
