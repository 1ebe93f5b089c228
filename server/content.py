"""One resource of the site in all its content codings, and the answer to a request for it (RFC 9110 section 12.5.3).

Text is compressed once, when it is built or first read; an answer only chooses. Everything has an ETag, so a browser
that has it already is told so without the body.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from aiohttp import web

from backplane.binding import matches, tag_of

CODINGS: Final = ("br", "gzip")
"""The ones that we have, the best one first."""
SUFFIXES: Final = {"br": ".br", "gzip": ".gz"}
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".map": "application/json",
    ".ts": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""Media types by suffix: nothing else is served."""
_PACKED: Final = frozenset({".woff2"})
_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Content:
    """``encoded``: the body by content coding, where that is shorter."""

    media_type: str
    body: bytes
    etag: str
    encoded: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, body: bytes, encoded: Mapping[str, bytes] | None = None) -> "Content":
        """Content of the media type that ``name`` ends with. Without ``encoded`` it is compressed here, by gzip.

        Raises:
            KeyError: nothing of that type is served.
        """
        suffix = PurePath(name).suffix
        media_type = TYPES[suffix]
        if encoded is None:
            encoded = {} if suffix in _PACKED else {"gzip": gzip.compress(body, _LEVEL, mtime=0)}
        shorter = {coding: packed for coding, packed in encoded.items() if len(packed) < len(body)}
        return cls(media_type, body, tag_of(body), shorter)

    def answer(
        self, request: web.Request, cache: str, vary: str = "Accept-Encoding", status: int = 200
    ) -> web.Response:
        """The answer in the best coding that the client takes; 304 where it has the content already."""
        headers = {"ETag": self.etag, "Cache-Control": cache, "Vary": vary}
        if status == 200 and matches(request, self.etag):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = self.media_type
        accepted = _accepted(request.headers.get("Accept-Encoding", ""))
        for coding in CODINGS:
            if coding in accepted and coding in self.encoded:
                # RFC 9110 section 8.8.3: another representation needs another strong tag, or a weak one.
                headers |= {"Content-Encoding": coding, "ETag": f"W/{self.etag}"}
                return web.Response(body=self.encoded[coding], status=status, headers=headers)
        return web.Response(body=self.body, status=status, headers=headers)


def _accepted(header: str) -> set[str]:
    """The codings that Accept-Encoding names, without those that it refuses (``q=0``)."""
    found = set()
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if weight.strip().rstrip("0.") != "q=":
            found.add(coding.strip())
    return found
