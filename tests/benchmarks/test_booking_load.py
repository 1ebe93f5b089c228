"""The load generator reads answers as our servers write them, and books no slot twice."""

from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import pytest

from benchmarks.booking_hours import Doctor, free_starts
from benchmarks.booking_load import answer_end, drive, request

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)


def test_an_answer_ends_where_its_length_says() -> None:
    whole = b"HTTP/1.1 201 Created\r\nDate: now\r\nContent-Length: 5\r\n\r\nhello"
    assert [answer_end(whole[:cut]) for cut in (10, 40, len(whole) - 1)] == [None, None, None]
    assert answer_end(whole) == (201, len(whole) - 5, len(whole))


def test_a_204_needs_no_length_and_chunks_are_not_for_us() -> None:
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert answer_end(empty) == (204, len(empty), len(empty))
    with pytest.raises(ValueError, match="length"):
        answer_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


async def test_every_request_is_asked_once_and_refusals_are_kept(aiohttp_server) -> None:  # type: ignore[no-untyped-def]
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), text=request.headers.get("Authorization", ""))

    app = web.Application()
    app.router.add_get("/{status}", answer)
    server = await aiohttp_server(app)
    asked = [request("GET", f"/{status}", "a.localhost", "t") for status in (200, 200, 409, 200)]
    load = await drive([server.port], iter(asked), 2)
    assert (load.good, dict(load.statuses), load.odd) == (3, {200: 3, 409: 1}, [b"Bearer t"])
    assert len(load.times_ms) == 4


def test_free_starts_are_mornings_of_working_days_each_once() -> None:
    doctors = [Doctor(UUID(int=n), UUID(int=n), "Asia/Karachi") for n in range(3)]
    starts = list(islice(free_starts(doctors, NOW), 3 * 16 * 6))
    assert len({(doctor.provider, start.astimezone(UTC)) for doctor, start in starts}) == len(starts)
    assert {start.hour for _, start in starts} == {9, 10, 11, 12}
    assert 6 not in {start.weekday() for _, start in starts}
