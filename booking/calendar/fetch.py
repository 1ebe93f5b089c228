"""Fetching a calendar from an address that somebody typed in, by `backplane.outgoing`: http and https on their own
ports, on the public internet only."""

from typing import Final

from msgspec import Struct

from backplane.outgoing import AllowAddress, AllowPort, Outgoing, OutgoingError, usual_port
from backplane.outgoing import checked_url as checked
from backplane.public_addresses import is_public

MAX_REDIRECTS: Final = 3
TIMEOUT_S: Final = 15.0
_SCHEMES: Final = ("https", "http")


class FetchError(Exception):
    """The address cannot be fetched; the text is a stable code."""


class Fetched(Struct, frozen=True):
    """``content`` None: it has not changed since ``etag``."""

    content: bytes | None
    etag: str | None


def checked_url(url: str, ports: AllowPort = usual_port) -> str:
    """``url`` when it may be tried, webcal taken as https. Raises FetchError ``bad_url``."""
    if url[:9].lower() == "webcal://":
        url = "https://" + url[9:]
    try:
        checked(url, _SCHEMES, ports)
    except OutgoingError as error:
        raise FetchError(str(error)) from None
    return url


class Fetcher:
    """``allowed`` and ``ports`` are for tests, which serve on loopback."""

    def __init__(
        self, allowed: AllowAddress = is_public, ports: AllowPort = usual_port, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._allowed = allowed
        self._ports = ports
        self._timeout_s = timeout_s

    async def get(self, url: str, max_bytes: int, etag: str | None = None) -> Fetched:
        """Fetch ``url``.

        Raises:
            FetchError: ``bad_url``, ``not_public``, ``unreachable``, ``refused``, ``too_large`` or
                ``too_many_redirects``.
        """
        headers = {"Accept": "text/calendar, */*;q=0.1", "User-Agent": "Wadud calendar"}
        if etag:
            headers["If-None-Match"] = etag
        url = checked_url(url, self._ports)
        outgoing = Outgoing(self._timeout_s, _SCHEMES, self._allowed, self._ports)
        try:
            answer = await outgoing.fetch(url, max_bytes=max_bytes, headers=headers, redirects=MAX_REDIRECTS)
        except OutgoingError as error:
            raise FetchError(str(error)) from None
        finally:
            await outgoing.close()
        if answer.status == 304:
            return Fetched(None, etag)
        if answer.status != 200:
            raise FetchError("refused")
        return Fetched(answer.body, answer.headers.get("ETag", "")[:200] or None)
