"""Typed routes: what is decoded, what is refused, what goes out."""

from datetime import UTC, date, datetime
from enum import Enum
from time import thread_time
from typing import Annotated, Literal
from uuid import UUID

import pytest
from aiohttp import WSMsgType, web
from msgspec import Meta, Struct

from backplane.api import Answer, Call, Page, Problem, Rate, Routes, decode_cursor, encode_cursor, page_of
from backplane.bounds import Count, Moment
from tests.support.api import CLINIC, NOW, person, served

ID = "0190a1b2-0000-7000-8000-000000000001"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Wish(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=20)]
    colour: Colour = Colour.RED
    at: Annotated[datetime, Meta(tz=True)] | None = None


class Search(Struct, forbid_unknown_fields=True):
    """What to look for."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    lang: list[str] = []
    day: date | None = None
    exact: bool = False


class Seen(Struct):
    id: UUID
    limit: int
    lang: list[str]
    day: date | None
    exact: bool


class Who(Struct):
    person: UUID | None
    tenant: str
    now: datetime


routes = Routes(tag="toys")


@routes.get("/toys/{id}")
async def show(call: Call, id: UUID, query: Search) -> Seen:
    return Seen(id, query.limit, query.lang, query.day, query.exact)


@routes.post("/toys", status=201, problems={409: ("taken",)}, body_limit=200)
async def wish(call: Call, body: Wish) -> Answer[Wish]:
    """Wish for a toy.

    It may come.
    """
    if body.name == "gone":
        raise Problem(409, "taken", "Wish for another.")
    return Answer(body, {"Location": "/toys/1"})


@routes.put("/notes/{number}")
async def note(call: Call, number: Count, body: Wish | None = None) -> None: ...


@routes.get("/kinds/{kind}")
async def kind(call: Call, kind: Literal["bear", "car"]) -> str:
    return kind


@routes.get("/me", right="see")
async def me(call: Call) -> Who:
    return Who(call.principal.person, call.tenant.slug, call.now)


@routes.get("/maybe-me")
async def maybe_me(call: Call) -> Who:
    return Who(call.who and call.who.person, call.tenant.slug, call.now)


@routes.post("/locked", right="unlock")
async def locked(call: Call) -> None: ...


@routes.get("/tagged", etag=True)
async def tagged(call: Call) -> list[int]:
    return [1, 2, 3]


@routes.get("/versioned")
async def versioned(call: Call) -> Answer[str]:
    return Answer("text", etag="v7")


@routes.get("/toys/{id}/card.ics", content_type="text/calendar")
async def card(call: Call, id: Count) -> web.Response:
    return web.Response(text="BEGIN:VCALENDAR", content_type="text/calendar")


@routes.post("/hooks")
async def hook(call: Call, body: bytes) -> int:
    return len(body)


@routes.get("/often", rate=Rate(per_s=0.001, burst=2))
async def often(call: Call) -> None: ...


@routes.post("/scarce", right="make", visitors=Rate(per_s=0.001, burst=2))
async def scarce(call: Call) -> None: ...


@routes.socket("/ws", right="see")
async def socket(call: Call) -> web.WebSocketResponse:
    response = web.WebSocketResponse()
    await response.prepare(call.request)
    await response.send_str(str(call.principal.person))
    return response


AMINA = {"Authorization": "Bearer amina"}


async def test_path_and_query_arrive_as_their_types() -> None:
    async with served([routes]) as client:
        answer = await client.get(f"/toys/{ID}?limit=5&lang=ur&lang=en&day=2026-05-04&exact=true")
        assert answer.status == 200
        assert await answer.json() == {"id": ID, "limit": 5, "lang": ["ur", "en"], "day": "2026-05-04", "exact": True}
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "target, status, code, named",
    [
        (f"/toys/{ID}?limit=hemlock", 400, "bad_request", "query.limit"),
        (f"/toys/{ID}?limit=101", 400, "bad_request", "query.limit"),
        (f"/toys/{ID}?day=hemlock", 400, "bad_request", "query.day"),
        (f"/toys/{ID}?limit=1&limit=2", 400, "bad_request", "twice"),
        (f"/toys/{ID}?colour=hemlock", 400, "bad_request", "colour"),
        ("/toys/hemlock", 404, "not_found", "id"),
        ("/kinds/hemlock", 404, "not_found", "kind"),
    ],
)
async def test_a_wrong_parameter_is_named_but_not_quoted(target: str, status: int, code: str, named: str) -> None:
    async with served([routes]) as client:
        answer = await client.get(target)
        text = await answer.text()
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        assert f'"code":"{code}"' in text
        assert named in text
        assert "hemlock" not in text


@pytest.mark.parametrize(
    "body, status, code, named",
    [
        (b'{"name":"a","colour":"hemlock"}', 422, "bad_request", "body.colour"),
        (b'{"name":7}', 422, "bad_request", "body.name"),
        (b'{"name":"a","at":"2026-05-04T09:00:00"}', 422, "bad_request", "body.at"),
        (b'{"name":"a","hue":"hemlock"}', 422, "bad_request", "hue"),
        (b'{"name":"a","my hemlock `is`":1}', 422, "bad_request", "unknown field"),
        (b'{}', 422, "bad_request", "name"),
        (b'{"name":', 400, "bad_json", "not JSON"),
        (b'{"name":"' + b"\xff" + b'"}', 400, "bad_json", "not JSON"),
        (b'"' + b"hemlock" * 40 + b'"', 413, "payload_too_large", "200 bytes"),
    ],
)  # fmt: skip
async def test_a_wrong_body_is_named_but_not_quoted(body: bytes, status: int, code: str, named: str) -> None:
    async with served([routes]) as client:
        answer = await client.post("/toys", data=body, headers={"Content-Type": "application/json"})
        text = await answer.text()
        assert (answer.status, f'"code":"{code}"' in text) == (status, True), text
        assert named in text
        assert "hemlock" not in text


@pytest.mark.parametrize("text", [r"a\u0000b", r"\\\u0000"])
async def test_what_postgres_cannot_keep_is_refused_at_the_border(text: str) -> None:
    async with served([routes]) as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/toys", data=f'{{"name": "{text}"}}'.encode(), headers=headers)
        assert (answer.status, (await answer.json())["code"]) == (422, "bad_request")
        answer = await client.post("/toys", data=rb'{"name": "\\u0000"}', headers=headers)  # six plain characters
        assert answer.status == 201
        answer = await client.get(f"/toys/{ID}?lang=%00")
        assert (answer.status, (await answer.json())["code"]) == (400, "bad_request")


async def test_a_body_without_length_is_cut_off_as_well() -> None:
    async def endless():  # type: ignore[no-untyped-def]
        for _ in range(50):
            yield b" " * 100

    async with served([routes]) as client:
        answer = await client.post("/toys", data=endless(), headers={"Content-Type": "application/json"})
        assert answer.status == 413


@pytest.mark.parametrize("year", ["0001", "1799", "2200", "9999", r"\u0039999", r"99\u00399"])
async def test_times_of_another_age_are_refused_at_the_border(year: str) -> None:
    """At the ends of time the arithmetic of handlers fails, and so do offsets."""
    async with served([routes]) as client:
        body = f'{{"name": "a", "at": "{year}-01-01T00:00:00+14:00"}}'
        json_type = {"Content-Type": "application/json"}
        async with client.post("/toys", data=body, headers=json_type) as answer:
            assert answer.status == 422
            assert (await answer.json())["detail"] == "A date of the body is not between 1800 and 2200."
        async with client.post("/toys", data='{"name": "9999-01-01"}', headers=json_type) as answer:
            assert answer.status == 201, "a text may say what it likes"
        async with client.get(f"/toys/{ID}", params={"day": "9999-12-31"}) as answer:
            assert answer.status == 400
            assert "of the query" in (await answer.json())["detail"]


async def test_what_is_said_of_a_body_is_read_quickly() -> None:
    """aiohttp reads the parameters of a Content-Type with a parser of mails: a third of a second for 7 KB."""
    async with served([routes]) as client:
        began = thread_time()
        for kind, status in ((f"APPLICATION/json ;{' a=b;' * 1300}", 201), ("text/plain; a=application/json", 415)):
            async with client.post("/toys", data='{"name": "a"}', headers={"Content-Type": kind}) as answer:
                assert answer.status == status
        assert thread_time() - began < 0.1


async def test_other_media_types_are_refused() -> None:
    async with served([routes]) as client:
        answer = await client.post("/toys", data=b"name=a", headers={"Content-Type": "text/plain"})
        assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media_type")


async def test_a_made_thing_comes_with_status_and_headers() -> None:
    async with served([routes]) as client:
        answer = await client.post("/toys", json={"name": "bear", "colour": "blue"})
        assert (answer.status, answer.headers["Location"]) == (201, "/toys/1")
        assert await answer.json() == {"name": "bear", "colour": "blue", "at": None}
        answer = await client.post("/toys", json={"name": "gone"})
        assert (answer.status, (await answer.json())["code"]) == (409, "taken")


async def test_nothing_is_204_and_a_body_may_be_left_out() -> None:
    async with served([routes]) as client:
        assert (await client.put("/notes/3")).status == 204
        assert (await client.put("/notes/3", json={"name": "a"})).status == 204
        assert (await client.put("/notes/3", json={"name": 3})).status == 422


async def test_strangers_get_401_and_the_unentitled_403() -> None:
    async with served([routes]) as client:
        answer = await client.get("/me")
        assert (answer.status, (await answer.json())["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        answer = await client.post("/locked", headers=AMINA)
        problem = await answer.json()
        assert (answer.status, problem["code"]) == (403, "forbidden")
        assert "unlock" in problem["detail"]
        answer = await client.get("/me", headers=AMINA)
        expected = {"person": str(person("amina").person), "tenant": CLINIC.slug, "now": "2026-05-04T09:00:00Z"}
        assert await answer.json() == expected
        assert datetime(2026, 5, 4, 9, tzinfo=UTC) == NOW
        assert (await (await client.get("/maybe-me")).json())["person"] is None


async def test_a_cookie_may_change_things_from_our_own_pages_only() -> None:
    async with served([routes], rights=("unlock",)) as client:
        ours = f"http://{client.host}:{client.port}"
        for headers, status in [
            ({"Origin": ours}, 204),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({}, 403),
        ]:
            answer = await client.post("/locked", headers={"Cookie": "who=amina", **headers})
            assert answer.status == status, headers
        # what carries its own token was not sent by a browser on somebody's behalf
        assert (await client.post("/locked", headers=AMINA)).status == 204


async def test_a_read_is_answered_by_its_tag() -> None:
    async with served([routes]) as client:
        first = await client.get("/tagged")
        assert (first.status, first.headers["Cache-Control"]) == (200, "private, no-cache")
        tag = first.headers["ETag"]
        for asked, status in [(tag, 304), (f'"x", W/{tag}', 304), ("*", 304), ('"x"', 200)]:
            again = await client.get("/tagged", headers={"If-None-Match": asked})
            assert (again.status, again.headers["ETag"]) == (status, tag)
        assert (await client.get("/versioned")).headers["ETag"] == '"v7"'
        assert (await client.head("/tagged")).headers["ETag"] == tag


async def test_files_raw_bodies_and_sockets() -> None:
    async with served([routes]) as client:
        answer = await client.get("/toys/3/card.ics")
        assert (answer.content_type, await answer.text()) == ("text/calendar", "BEGIN:VCALENDAR")
        assert await (await client.post("/hooks", data=b"\x00\x01\x02")).json() == 3
        async with client.ws_connect("/ws", headers=AMINA) as ws:
            message = await ws.receive()
            assert (message.type, message.data) == (WSMsgType.TEXT, str(person("amina").person))
        assert (await client.get("/ws")).status == 401


async def test_a_rate_is_of_one_person() -> None:
    async with served([routes]) as client:
        statuses = [(await client.get("/often", headers=AMINA)).status for _ in range(3)]
        assert statuses == [204, 204, 429]
        assert (await client.get("/often", headers={"Authorization": "Bearer bilal"})).status == 204


async def test_visitors_without_an_account_share_what_their_address_may_have() -> None:
    async with served([routes]) as client:

        async def ask(name: str) -> int:
            answer = await client.post("/scarce", headers={"Authorization": f"Bearer {name}"})
            assert answer.status != 429 or answer.headers["Retry-After"] == "60"
            return answer.status

        assert [await ask(f"visitor{number}") for number in range(4)] == [204, 204, 429, 429]
        assert [await ask("amina") for _ in range(4)] == [204] * 4


async def test_other_sites_may_not_read_us() -> None:
    async with served([routes]) as client:
        answer = await client.get("/me", headers={**AMINA, "Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        answer = await client.options("/me", headers={"Origin": "https://evil.example"})
        assert answer.status == 405


def test_handlers_that_do_not_fit_their_path_are_refused_at_import() -> None:
    broken = Routes(tag="broken")

    async def no_call(id: int) -> None: ...
    async def other_part(call: Call, number: int) -> None: ...
    async def read(call: Call) -> None: ...

    with pytest.raises(TypeError, match="call: Call"):
        broken.get("/x/{id}")(no_call)
    with pytest.raises(TypeError, match="not the path's"):
        broken.get("/x/{id}")(other_part)
    with pytest.raises(TypeError, match="Idempotency-Key"):
        broken.get("/x", idempotent=True)(read)


def test_a_cursor_carries_a_typed_key() -> None:
    number = UUID(ID)
    cursor = encode_cursor(NOW, number)
    assert decode_cursor(cursor, tuple[Moment, UUID]) == (NOW, number)


@pytest.mark.parametrize("cursor", ["", "!", "bm9uc2Vuc2U", encode_cursor("a", "b"), encode_cursor(1), "A" * 600, "é"])
def test_a_forged_cursor_is_a_problem(cursor: str) -> None:
    with pytest.raises(Problem, match="bad_cursor"):
        decode_cursor(cursor, tuple[Moment, UUID])


def test_one_row_more_than_shown_tells_that_there_is_a_next_page() -> None:
    def page(rows: list[int]) -> Page[str]:
        return page_of(rows, 2, str, lambda row: [row])

    assert page([1, 2]) == Page(["1", "2"], None)
    assert page([1, 2, 3]) == Page(["1", "2"], encode_cursor(2))
    assert page([]) == Page([], None)
