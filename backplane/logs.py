"""Structured logs that cannot hold a person.

One JSON object per line on stderr. Only keys of `ALLOWED_KEYS` are written, whatever a caller passes, so a name, a full
address or a message text has no way in; an exception is written as its type and the places it passed through, never as
its text, because texts quote input. Repeated warnings are counted instead of written: `Throttle` lets the same event
through at most once per period and says how many were held back. Nothing here is called per packet.
"""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TextIO

import msgspec

# Meaning of each key is the same in every module. Room and participant stand for our own random ids, cut to a prefix
# that is enough to follow one call through a log and too short to open it.
ALLOWED_KEYS: Final = frozenset(
    {
        "code",
        "count",
        "cpu_ms",
        "duration_ms",
        "field",
        "generation",
        "held_back",
        "host",
        "kind",
        "media_port",
        "participant",
        "participants",
        "port",
        "process_cpu_ms",
        "reason",
        "request",
        "room",
        "rooms",
        "route",
        "session",
        "sessions",
        "stack",
        "stage",
        "state",
        "status",
        "transport",
        "version",
        "worker",
        "workers",
    }
)
# `asyncio` and `aiohttp` report unhandled errors through these; their texts may quote input, so only the event stays.
_FOREIGN_EVENT: Final = "foreign"
_ID_PREFIX: Final = 6
_MAX_TEXT: Final = 120
_MAX_FRAMES: Final = 12

# Id of the request that is being served, as its answer's X-Request-Id says it; "" outside of one.
REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")

LogValue = str | int | float | bool | tuple[str, ...] | None  # a tuple holds frames, as `frames_of` gives them


def short(identifier: str) -> str:
    """Prefix of a random id for the log."""
    return identifier[:_ID_PREFIX]


def frames_of(places: Iterable[tuple[str, int | None, str]]) -> tuple[str, ...]:
    """The last of ``places`` (file, line, function) in the words of the log: no text of a line, no value."""
    last = list(places)[-_MAX_FRAMES:]
    return tuple(f"{'/'.join(file.rsplit('/', 2)[-2:])}:{line} {function}" for file, line, function in last)


def frames_of_trace(trace: TracebackType | None) -> tuple[str, ...]:
    """`frames_of` the places that an exception passed through."""
    return frames_of((frame.filename, frame.lineno, frame.name) for frame in traceback.extract_tb(trace))


def _short(value: LogValue) -> LogValue:
    if isinstance(value, tuple):
        return tuple(each[:_MAX_TEXT] for each in value[-_MAX_FRAMES:])
    return value[:_MAX_TEXT] if isinstance(value, str) else value


class JsonFormatter(logging.Formatter):
    """Formats records of `Log`; of foreign records it keeps logger, level and exception type only."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields: Mapping[str, LogValue] | None = getattr(record, "wadud_fields", None)
        line["event"] = _FOREIGN_EVENT if fields is None else record.getMessage()
        for key, value in (fields or {}).items():
            if key in ALLOWED_KEYS:
                line[key] = _short(value)
        if record.levelno >= logging.WARNING and (request := REQUEST_ID.get()):
            line["request"] = request
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = frames_of_trace(record.exc_info[2])
        return msgspec.json.encode(line).decode()


class Log:
    """Logger of one module: an event name in words of ours plus fields of `ALLOWED_KEYS`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: LogValue) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: LogValue) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: LogValue) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: LogValue) -> None:
        """Our own fault; called inside an ``except`` block it writes the trace as well."""
        self._write(logging.ERROR, event, fields, trace=sys.exc_info()[0] is not None)

    def _write(self, level: int, event: str, fields: Mapping[str, LogValue], trace: bool = False) -> None:
        self._logger.log(level, event, extra={"wadud_fields": fields}, exc_info=trace)


class Throttle(logging.Filter):
    """Lets an event of one logger through ``per_period`` times per ``period_s``; the next one says what was held back.

    Only warnings and errors are held back: those a stranger can cause. ``clock`` gives monotonic seconds.
    """

    MAX_EVENTS: Final = 1000

    def __init__(
        self, per_period: int = 5, period_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._per_period = per_period
        self._period_s = period_s
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        own = hasattr(record, "wadud_fields")
        key = (record.name, record.getMessage() if own else _FOREIGN_EVENT)
        now = self._clock()
        started, count = self._seen.get(key, (now, 0))
        held_back = 0
        if now - started >= self._period_s:
            held_back = max(0, count - self._per_period)
            started, count = now, 0
        if key not in self._seen and len(self._seen) >= self.MAX_EVENTS:
            return False
        self._seen[key] = (started, count + 1)
        if count >= self._per_period:
            return False
        if own and held_back:
            record.wadud_fields = {**record.__dict__["wadud_fields"], "held_back": held_back}
        return True


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every record of the process through `JsonFormatter` and `Throttle`. Replaces earlier handlers."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(Throttle())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # One line per request would be personal (paths hold room names) and without bound.
    logging.getLogger("aiohttp.access").disabled = True
