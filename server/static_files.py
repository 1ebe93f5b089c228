"""What pages load, under /static/: the files of web/dist, which web/scripts/build.mjs makes from the rest of web/.

Names in its folder build/ hold a digest of the content. Such a file never changes, so browsers keep it for a year and
this process for good, and it lies there in all codings. The few other files, the client library that other sites
import, have addresses that last: browsers ask for them every time, and a new build is seen at the next request.
"""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Final

from aiohttp import web

from backplane.web import Problem
from server.content import SUFFIXES, TYPES, Content

HASHED: Final = "build"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_MAX_DEPTH: Final = 4
_MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"
_Stamp = tuple[int, int]  # modification time in ns, size


class StaticFiles:
    """Handler of /static/. ``root``: the folder that web/ is built into."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._kept: OrderedDict[Path, tuple[_Stamp | None, Content]] = OrderedDict()
        self._kept_bytes = 0

    async def serve(self, request: web.Request) -> web.Response:
        segments = request.match_info["path"].split("/")
        if len(segments) > _MAX_DEPTH or not all(map(_SEGMENT.fullmatch, segments)):
            raise Problem(404, "not_found")
        path = self._root.joinpath(*segments)
        if path.suffix not in TYPES:
            raise Problem(404, "not_found")
        hashed = segments[0] == HASHED
        try:
            content = self._read(path, hashed)
        except OSError:
            raise Problem(404, "not_found") from None
        return content.answer(request, _FOR_A_YEAR if hashed else "no-cache")

    def _read(self, path: Path, hashed: bool) -> Content:
        stamp = None if hashed and path in self._kept else _stamp(path)
        if path in self._kept and stamp in (None, self._kept[path][0]):
            return self._kept[path][1]
        if not path.resolve().is_relative_to(self._root):
            raise FileNotFoundError(path)
        encoded = _encoded(path) if hashed else None
        content = Content.of(path.name, path.read_bytes(), encoded)
        self._forget(path)
        self._kept[path] = (stamp, content)
        self._kept_bytes += _size(content)
        while self._kept_bytes > _MAX_KEPT_BYTES:
            self._forget(next(iter(self._kept)))
        return content

    def _forget(self, path: Path) -> None:
        if path in self._kept:
            self._kept_bytes -= _size(self._kept.pop(path)[1])


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _encoded(path: Path) -> dict[str, bytes]:
    """The codings that lie beside the file."""
    beside = {coding: path.with_name(path.name + suffix) for coding, suffix in SUFFIXES.items()}
    return {coding: packed.read_bytes() for coding, packed in beside.items() if packed.is_file()}


def _size(content: Content) -> int:
    return len(content.body) + sum(map(len, content.encoded.values()))
