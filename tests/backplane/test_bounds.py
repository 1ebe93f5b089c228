"""What comes from outside has bounds by its type, and every decoder of such things knows it."""

import asyncio
import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

import booking
from backplane.api import Call, Routes, encode_cursor
from backplane.bounds import WIDE, Count, Int4, Int8, check_type, holds_times, odd_time
from backplane.paging import decode_cursor
from backplane.routes import Route
from backplane.web import Problem
from tests.support.api import served


class Inner(Struct):
    number: int


class Tree(Struct):
    children: list["Tree"]
    at: Annotated[datetime, Meta(tz=True)]


class Low(Struct):
    number: Annotated[int, Meta(ge=0)]


FITS: list[Any] = [
    Int4,
    Count,
    Int8,
    Annotated[int, Meta(ge=0, le=2**53, extra=WIDE)],
    Annotated[float, Meta(gt=0, lt=1)],
    Annotated[datetime, Meta(tz=True)],
    date,
    time,
    bool,
    Literal[1, 2],
    dict[str, list[Count]],
    Tree,
    Count | str | None,
]
TOO_WIDE: list[Any] = [
    int,
    Annotated[int, Meta(ge=0)],
    Annotated[int, Meta(le=5)],
    Annotated[int, Meta(ge=0, le=2**31)],
    Annotated[int, Meta(ge=-(2**31) - 1, le=0)],
    float,
    Annotated[float, Meta(ge=0)],
    datetime,
    timedelta,
    list[int],
    dict[str, int],
    tuple[str, int],
    Inner,
    Inner | None,
    list[Inner],
    Low,
]


@pytest.mark.parametrize("kind", FITS, ids=str)
def test_types_with_bounds_pass(kind: Any) -> None:
    check_type(kind)


@pytest.mark.parametrize("kind", TOO_WIDE, ids=str)
def test_types_without_bounds_are_a_mistake_of_ours(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"an integer|a float|a date and time|TimeDelta"):
        check_type(kind)


def test_a_route_without_bounds_is_not_registered() -> None:
    async def path(call: Call, number: int) -> None: ...

    async def body(call: Call, body: Inner) -> None: ...

    async def query(call: Call, query: Low) -> None: ...

    routes = Routes(tag="toys")
    for handler, address in ((path, "/{number}"), (body, "/"), (query, "/")):
        with pytest.raises(TypeError, match="integer"):
            routes.post(address)(handler)
    assert routes.all == []


def all_routes() -> Iterator[Route]:
    seen: set[int] = set()
    for module in pkgutil.walk_packages(booking.__path__, "booking."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Routes) and id(value) not in seen:
                seen.add(id(value))
                yield from value.all


def test_all_routes_have_gone_through_the_check() -> None:
    """Registering does it; this tells that there is something to register."""
    routes = list(all_routes())
    assert len(routes) > 100
    for route in routes:
        for kind in (route.body, route.query, *route.path_types.values()):
            if kind is not None and kind is not bytes:
                check_type(kind)


# Where JSON or text becomes a value without `check_type`: what is read there was written by us, or is said why not.
OWN: dict[str, str] = {
    "backplane/bounds.py": "the check itself",
    "backplane/binding.py": "types of routes, which are checked when they are declared",
    "backplane/parameters.py": "types of routes, which are checked when they are declared",
    "backplane/consumers.py": "our own events",
    "backplane/outbox.py": "our own events",
    "backplane/postgres.py": "our own columns",
    "backplane/embedded_postgres.py": "our own process",
    "backplane/postgres_supervisor.py": "our own process",
    "backplane/setup_steps.py": "our own file",
    "backplane/keys.py": "tokens that our keys signed; times are only compared",
    "backplane/tokens.py": "tokens that our key signed; times are only compared",
    "booking/admin_command.py": "an operator's command line, of texts",
    "booking/calendar/ics_in.py": "between our own processes",
    "booking/calendar/store.py": "our own query",
    "booking/identity/courier.py": "letters that we sealed",
    "booking/identity/factor_routes.py": "options of our own library",
    "booking/identity/key_store.py": "keys that we sealed",
    "booking/identity/oidc_client.py": "an identity provider's claims; times are only compared",
    "live/notes.py": "our own notes",
    "booking/visits/room_commands.py": "our own commands",
    "booking/policy.py": "an operator's policy, which has checks of its own",
    "booking/rights.py": "an operator's policy",
    "server/pages.py": "our own build",
    "signalling/messages.py": "msgspec.Raw, of which nothing is read",
}
DECODES = re.compile(r"json\.decode\(|json\.Decoder\(|msgspec\.convert[,(]|json\.loads\(|msgpack\.")


def test_whoever_decodes_without_the_check_is_on_the_list(root: Path) -> None:
    found = {
        str(path.relative_to(root))
        for package in ("backplane", "booking", "live", "server", "signalling", "sfu", "turn", "rtc")
        for path in (root / package).rglob("*.py")
        if DECODES.search(path.read_text())
    }
    assert found == set(OWN)


@pytest.mark.parametrize(
    ("value", "odd"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), False),
        (date(1890, 1, 1), False),
        (date(1799, 12, 31), True),
        (date(2200, 1, 1), True),
        (datetime.min.replace(tzinfo=UTC), True),
        ([{"at": datetime.max}], True),
        (Tree([Tree([], datetime(9999, 1, 1, tzinfo=UTC))], datetime(2026, 1, 1, tzinfo=UTC)), True),
        ("0001-01-01", False),
    ],
)
def test_times_at_the_ends_of_a_calendar_are_odd(value: object, odd: bool) -> None:
    assert odd_time(value) is odd


def test_what_holds_times_is_known_by_its_type() -> None:
    assert holds_times(Tree)
    assert holds_times(list[date] | None)
    assert not holds_times(Inner)


class When(Struct):
    at: Annotated[datetime, Meta(tz=True)] | None = None
    day: date | None = None


routes = Routes(tag="toys")


@routes.get("/when")
async def by_query(call: Call, query: When) -> When:
    return query


@routes.get("/when/{day}")
async def by_path(call: Call, day: date) -> When:
    return When(day=day)


@routes.post("/when")
async def by_body(call: Call, body: When) -> When:
    return body


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "1799-01-01T00:00:00Z"])
async def test_odd_times_are_refused_in_body_query_and_path(at: str) -> None:
    async with served([routes]) as client:
        assert (await client.post("/when", json={"at": at})).status == 422
        assert (await client.post("/when", json={"day": at[:10]})).status == 422
        assert (await client.get("/when", params={"at": at})).status == 400
        assert (await client.get("/when", params={"day": at[:10]})).status == 400
        assert (await client.get(f"/when/{at[:10]}")).status == 404
        assert (await client.get("/when/2026-01-01")).status == 200


@pytest.mark.parametrize(
    ("cursor", "key"),
    [
        (encode_cursor("9999-12-31T23:59:59-05:00"), tuple[Annotated[datetime, Meta(tz=True)]]),
        (encode_cursor("a\0b"), tuple[str]),
        (encode_cursor(2**31), tuple[Count]),
    ],
)
def test_a_cursor_holds_nothing_that_a_column_does_not_take(cursor: str, key: Any) -> None:
    with pytest.raises(Problem, match="bad_cursor"):
        decode_cursor(cursor, key)


def test_a_cursor_without_bounds_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        decode_cursor(encode_cursor(1), tuple[int])


@pytest.mark.parametrize("target", ["/when/\xff", "/when?day=\xff", "/when?day=\xed\xa0\x80"])
async def test_bytes_that_are_not_escaped_are_refused(target: str) -> None:
    """They would reach the database as half a character. aiohttp's parser refuses them; its other one does not."""
    async with served([routes]) as client:
        host, port = client.host, client.port
        assert port is not None
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
