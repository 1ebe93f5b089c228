"""Texts of one line, and where several are meant."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from backplane.lines import LINES, control_in, has_control, one_line
from backplane.routes import Call, Routes
from tests.support.api import served


class Part(Struct):
    name: str = ""
    text: Annotated[str, Meta(max_length=100), LINES] | UnsetType = UNSET


class Whole(Struct):
    name: str = ""
    bio: Annotated[str, LINES] | None = None
    parts: list[Part] = []
    tags: tuple[str, ...] = ()
    rest: dict[str, Any] = {}


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\tb", "a\x00b", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\n"])
def test_control_characters_are_found_in_a_line(text: str) -> None:
    assert has_control(text)
    assert "\n" not in one_line(text)
    for place, value in {
        ".name": Whole(name=text),
        ".parts[...].name": Whole(parts=[Part(), Part(name=text)]),
        ".tags[...]": Whole(tags=("x", text)),
        ".rest[...][...]": Whole(rest={"x": [text]}),
        ".rest[...]": Whole(rest={text: 1}),
    }.items():
        assert control_in(msgspec.json.encode(value), value) == place


def test_texts_of_several_lines_may_break_them_and_no_more() -> None:
    good = Whole(bio="a\r\n\tb\u2028c", parts=[Part(text="a\nb")])
    assert control_in(msgspec.json.encode(good), good) is None
    for bad in (Whole(bio="a\x00"), Whole(bio="a\x1b[31m"), Whole(parts=[Part(text="a\x85")])):
        assert control_in(msgspec.json.encode(bad), bad) is not None


@pytest.mark.parametrize("text", ["Amina", "آمنہ", "Zoë \u200e+92", 'say "x" \\n', "C:\\new", "a\u2066b\u2069", "😀"])
def test_other_texts_are_left_alone(text: str) -> None:
    value = Whole(name=text, bio=text, rest={text: text})
    assert control_in(msgspec.json.encode(value), value) is None
    assert one_line(text) == text


routes = Routes(tag="lines")


class Query(Struct, frozen=True):
    q: str = ""


@routes.post("/v1/names")
async def name(call: Call, body: Whole) -> Whole:
    """Give it back."""
    return body


@routes.get("/v1/names/{name}")
async def find(call: Call, name: str, query: Query) -> str:
    """Give it back."""
    return name + query.q


async def test_routes_refuse_a_line_break_wherever_one_line_is_meant() -> None:
    async with served([routes]) as client:
        for body, status in (({"name": "a\nb"}, 422), ({"bio": "a\nb"}, 200), ({"name": "a b"}, 200)):
            answer = await client.post("/v1/names", json=body)
            assert answer.status == status
        problem = await (await client.post("/v1/names", json={"parts": [{"name": "x\r\nTo: y"}]})).json()
        assert problem["detail"].endswith("at `body.parts[...].name`")
        assert (await client.get("/v1/names/x?q=%0a")).status == 400
        assert (await client.get("/v1/names/x%0dy")).status == 404
        assert (await client.get("/v1/names/x?q=y")).status == 200
