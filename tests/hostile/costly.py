"""Requests that may cost a server more than they cost who sends them, for every operation of the OpenAPI document.

Each parameter and each field of a body takes, one at a time and within what its schema lets through, the shapes that
are known to be costly somewhere: long runs of one letter, letters that unfold, marks that have to be put in order,
texts for expressions that go back, the ends of time, rules of dates that never happen, numbers at the edges. The rest
of the request is the smallest good one (`samples.Sampler`), so that the handler is reached. Beside them each operation
gets bodies that are costly to read at all. A new route or field is covered by being declared.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from tests.booking.proofs.samples import TEXTS, Operation, Sampler

T = TypeVar("T")

LONGEST: Final = 6000  # letters of a text without a limit of its own; a head of a request takes 8 KB
MANY: Final = 400

RULES: Final = (
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;UNTIL=99991231",
    "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;COUNT=52;BYSETPOS=" + ",".join(str(n) for n in range(336, 367)),
    "FREQ=MONTHLY;BYDAY=99MO;COUNT=2",
    "FREQ=DAILY;UNTIL=99991231",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=52",
    "FREQ=SECONDLY;COUNT=52",
    "FREQ=DAILY;INTERVAL=" + "9" * 200,
    "FREQ=WEEKLY;COUNT=52;" * 13,
)
MOMENTS: Final = (
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1900-01-01T00:00:00+14:00",
    "2199-12-31T23:59:59-14:00",
    "2030-01-02T09:02:00.999999999999+23:59",
)
DAYS: Final = ("0001-01-01", "9999-12-31", "1900-01-01", "2199-12-31")
ZONES: Final = ("posix/../../../../etc/passwd", "America/Argentina/ComodRivadavia", "a/" * 32, "GMT-99", "\u0130" * 64)
# Units to repeat: of letters that may be read in several ways, that unfold (NFKC), that combine in an order of their
# own (NFC), and of what expressions and parsers go back over.
UNITS: Final = ("w", "وی", "ﷺ", "\u0327\u0301", "a@", "((", "9", " .", "-/", "%00", "İß", "\\\"'")
_BIG: Final = 10**18
EVIL_HEADS: Final[Mapping[str, str]] = {
    "Accept-Language": "ur-Arab-PK-x-" + "en;q=0.1," * 800,
    "Authorization": "Bearer " + "eyJhbGciOiJub25lIn0." * 350,
    "Cookie": "a=b; " * 1400,
    "If-None-Match": 'W/"a",' * 1200,
    "Idempotency-Key": "k" * 7000,
    "Visit-Pass": "A" * 7000,
    "traceparent": "00-" + "f" * 7000,
    "X-Forwarded-For": "1.1.1.1," * 900,
    "Forwarded": 'for="[::1]",' * 600,
    "Range": "bytes=" + "0-1," * 1700,
    "Accept-Encoding": "gzip;q=0.1," * 700,
    "Content-Type": "application/json;" + " a=b;" * 1300,
    "Origin": "http://" + "a." * 3000,
}


@dataclass(frozen=True)
class Shot:
    """One request. ``what``: the place and the shape, for people."""

    operation: Operation
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    what: str

    def __str__(self) -> str:
        return f"{self.operation.name} {self.what}"


def texts(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Costly texts that the schema may let through."""
    match schema.get("format"):
        case "date-time":
            yield from MOMENTS
            return
        case "date":
            yield from DAYS
            return
    if "rule" in name:
        yield from RULES
    if name in ("tz", "timezone"):
        yield from ZONES
    if "pattern" in schema and ("T" in schema["pattern"] and "d{4}" in schema["pattern"]):
        yield from (*MOMENTS, *DAYS)
    most = min(schema.get("maxLength", LONGEST), LONGEST)
    for unit in UNITS:
        yield (unit * most)[:most]
    if name in TEXTS or name in ("email", "phone"):  # what a good one begins like
        good = TEXTS.get(name, "+92300")
        yield good + (good[-1] * most)[: most - len(good)]
        local, at, domain = good.partition("@")
        if at:
            yield f"{local}@{('a.' * most)[: most - len(good)]}{domain}"


def numbers(schema: Mapping[str, Any]) -> Iterator[Any]:
    low, high = schema.get("minimum", -_BIG), schema.get("maximum", _BIG)
    yield from {low, high, 0, -1, 1}
    if schema.get("type") == "number":
        yield from (1e308, -1e-320)


def shapes(sampler: Sampler, operation: Operation, name: str, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Costly values of a place; of an object one field at a time."""
    schema = sampler.plain(schema)
    if schema.get("format") == "uuid" or "enum" in schema or "const" in schema:
        return
    match schema.get("type"):
        case "object":
            base = sampler.value(operation, name, schema)
            for field, about in schema.get("properties", {}).items():
                for shape in shapes(sampler, operation, field, about):
                    yield {**base, field: shape}
        case "array":
            items = schema.get("items", {})
            most = min(schema.get("maxItems", MANY), MANY)
            yield [sampler.value(operation, name, items)] * most
            # all shapes at once: what each costs adds up
            yield [shape for shape in shapes(sampler, operation, name, items)][:most]
            last = [*shapes(sampler, operation, name, items)][-1:]
            yield last * most
        case "string":
            yield from texts(name, schema)
        case "integer" | "number":
            yield from numbers(schema)


def _bodies() -> Iterator[tuple[str, bytes]]:
    """Costly to read, whatever is asked for."""
    yield "deep lists", b"[" * 16_000
    yield "deep objects", b'{"a":' * 3_000
    yield "digits", b'{"name":' + b"9" * 15_000 + b"}"
    yield "a number", b'{"name":1e' + b"9" * 15_000 + b"}"
    yield "one field many times", b"{" + b'"name":"a",' * 1_300 + b'"name":"a"}'
    yield "unknown field", b'{"' + b"`a` - at `" * 1_500 + b'":1}'
    yield "escapes", b'{"name":"' + b"\\u0000\\ud800" * 1_200 + b'"}'
    yield "blanks", b" " * 16_000


def _turn(given: Sequence[T], number: int) -> Sequence[T]:
    """Two of them."""
    return [given[(2 * number + n) % len(given)] for n in range(2)]


_FILES: Final = (
    ("a picture of zeros", b"\x89PNG\r\n\x1a\n" + bytes(9_000_000)),
    ("a paper", b"%PDF-1.7\n" + b"<<" * 4_500_000),
)


def shots(document: Mapping[str, Any], sampler: Sampler, operation: Operation, number: int) -> Iterator[Shot]:
    """Everything for one operation. What is costly whoever reads it goes round: ``number`` says whose turn it is."""
    sample = sampler.sample(operation)
    headers = dict(sample.options.get("headers", {}))
    query = dict(sample.options.get("params", {}))
    body = sample.options.get("json")
    content = operation.said.get("requestBody", {}).get("content", {})
    typed = {**headers, "Content-Type": "application/json"} if body is not None else headers
    plain = None if body is None else json.dumps(body).encode()

    keyed = "Idempotency-Key" in headers

    def shot(what: str, path: str, asked: Mapping[str, Any], sent: bytes | None) -> Shot:
        # a key of its own: an answer that is given again costs nothing
        own = {**typed, "Idempotency-Key": uuid4().hex} if keyed else typed
        return Shot(operation, path + (f"?{urlencode(asked)}" if asked else ""), own, sent, what)

    for parameter in operation.said.get("parameters", ()):
        name, schema = parameter["name"], sampler.plain(parameter["schema"])
        if parameter["in"] == "query":
            for shape in shapes(sampler, operation, name, schema):
                listed = [str(each)[:700] for each in shape][:10] if isinstance(shape, list) else None
                asked = [*query.items(), *((name, each) for each in listed)] if listed else {**query, name: shape}
                text = urlencode(asked)
                if len(text) < 7_800:
                    yield shot(f"query {name}={str(shape)[:30]}", f"{sample.path}?{text}", {}, plain)
        elif parameter["in"] == "path" and schema.get("type") == "string" and schema.get("format") != "uuid":
            for shape in texts(name, schema):
                path = operation.path.replace("{" + name + "}", quote(shape[:800], safe=""))
                if "{" not in path:
                    yield shot(f"path {name}={shape[:30]}", path, query, plain)
    if "application/json" in content:
        for shape in shapes(sampler, operation, "", content["application/json"]["schema"]):
            changed = {key: value for key, value in shape.items() if value != body.get(key)}
            sent = json.dumps(shape, ensure_ascii=False).encode("utf-8", "replace")
            yield shot(f"body {str(changed)[:60]}", sample.path, query, sent)
        for what, sent in _turn([*_bodies()], number):
            yield shot(what, sample.path, query, sent)
    elif content:
        for what, sent in _FILES:
            yield shot(what, sample.path, query, sent)
    for name, value in _turn([*EVIL_HEADS.items()], number):
        good = shot(f"head {name}", sample.path, query, plain)
        yield replace(good, headers={**good.headers, name: value})
