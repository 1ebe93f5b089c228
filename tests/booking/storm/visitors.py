"""People at their browsers: HTTP requests of many at once, and what came of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgspec

from tests.booking.storm.clinic import HOST

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """``status`` 0: none came, the connection broke."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        return str(self.body.get("code", "")) if isinstance(self.body, dict) and self.status >= 400 else ""

    @property
    def id(self) -> UUID:
        return UUID(self.body["id"])

    @property
    def told(self) -> str:
        """Status and code, for counting."""
        return f"{self.status} {self.code}".strip()


class Crowd:
    """Sends requests to one or several servers."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
        self._session = session
        self._urls = urls
        self._turn = 0

    async def ask(self, method: str, path: str, token: str, body: object = None, *, key: str | None = None) -> Answer:
        """One request; each goes to the next server."""
        self._turn += 1
        url = self._urls[self._turn % len(self._urls)] + path
        headers = {"Host": HOST, "Authorization": f"Bearer {token}", "Idempotency-Key": key or uuid4().hex}
        try:
            async with self._session.request(method, url, json=body, headers=headers) as response:
                content = await response.read()
                decoded = msgspec.json.decode(content) if content else None
                return Answer(response.status, decoded, response.headers)
        except (aiohttp.ClientError, ConnectionError):
            return Answer(0, None, {})

    async def book(self, token: str, service: UUID, start: object, *, key: str | None = None) -> Answer:
        body = {"service": str(service), "start": start.isoformat()}  # type: ignore[attr-defined]
        return await self.ask("POST", "/v1/appointments", token, body, key=key)

    async def connect(self, connections: int) -> None:
        """Opens that many connections, so that what is measured is the requests."""
        rounds = (self._session.get(self._urls[n % len(self._urls)] + "/healthz") for n in range(connections))
        for response in await asyncio.gather(*rounds):
            await response.read()


@asynccontextmanager
async def crowd(urls: Sequence[str]) -> AsyncIterator[Crowd]:
    """Without cookies, with as many connections as it takes."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), json_serialize=_json
    ) as session:
        yield Crowd(session, urls)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def at_once(requests: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """All together."""
    return list(await asyncio.gather(*requests))


def tally(answers: Iterable[Answer]) -> Counter[str]:
    """How often each status and code came."""
    return Counter(answer.told for answer in answers)
