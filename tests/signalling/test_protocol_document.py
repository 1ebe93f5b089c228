"""docs/protocol.md and the code say the same: messages, fields, types, limits, defaults, codes, examples. Both ways."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

import server.ice_servers as ice_servers
import sfu.events as events
import signalling.http as http
import signalling.messages as messages
from backplane.guarded_websocket import HEARTBEAT_S, PONG_LONGEST_S
from backplane.settings import Settings
from sfu.protocol import MAX_PARTICIPANTS, MAX_TRACKS
from signalling.codes import CloseCode, ErrorCode
from signalling.compression import COMPRESS_FROM_BYTES, COMPRESSED_SUBPROTOCOL
from signalling.conversation import (
    BYTES_OF_ONE_MESSAGE,
    FAULTS_BURST,
    FAULTS_PER_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
)
from signalling.session import MAX_REPLAY_BYTES, MAX_REPLAY_MESSAGES, RESUME_WINDOW_S
from signalling.websocket import LIMITS, MAX_SOCKETS_PER_ADDRESS, MAX_WAITING_PER_ADDRESS

CLIENT = get_args(messages.ClientMessage)
ANSWERS = get_args(messages.ServerAnswer)
PUSHES = get_args(events.RoomEvent)
OBJECTS = (
    messages.TrackIntent,
    events.ParticipantInfo,
    events.TrackInfo,
    events.SlotInfo,
    events.Speaker,
    events.Quality,
)
BODIES = (
    http.NewRoom,
    http.RoomMade,
    http.NewToken,
    http.TokenMade,
    http.TokenHolder,
    http.Revocation,
    http.Revoked,
    ice_servers.IceServers,
    ice_servers.IceServer,
)

Row = list[str]


@dataclass
class Section:
    """A heading with the tables and JSON examples below it."""

    level: int
    title: str
    tables: list[list[Row]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def document() -> str:
    return (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()


@pytest.fixture(scope="module")
def sections(document: str) -> list[Section]:
    found: list[Section] = []
    fence: list[str] | None = None
    for line in document.splitlines():
        if fence is not None:
            if line == "```":
                if fence[0] == "```json":
                    found[-1].examples.append("\n".join(fence[1:]))
                fence = None
            else:
                fence.append(line)
        elif line.startswith("```"):
            fence = [line]
        elif heading := re.match(r"(#+) (.*)", line):
            found.append(Section(len(heading[1]), heading[2]))
        elif line.startswith("|"):
            row = [cell.strip() for cell in line.strip("|").split("|")]
            if not found[-1].lines or not found[-1].lines[-1].startswith("|"):
                found[-1].tables.append([])
            if not set(line) <= set("|-"):
                found[-1].tables[-1].append(row)
            found[-1].lines.append(line)
        else:
            found[-1].lines.append(line)
    return found


def below(sections: list[Section], title: str) -> dict[str, Section]:
    """The sections one level below the one with that title, by their own."""
    start = next(index for index, section in enumerate(sections) if section.title == title)
    inside: dict[str, Section] = {}
    for section in sections[start + 1 :]:
        if section.level <= sections[start].level:
            break
        inside[section.title] = section
    return inside


def titled(sections: list[Section], title: str) -> Section:
    return next(section for section in sections if section.title == title)


def named(model: type) -> str:
    """As the document calls an object."""
    return model.__name__.removesuffix("Info")


def words(kind: inspect.Type) -> str:
    """A type in the words of the document."""
    match kind:
        case inspect.Metadata(type=inner):
            return words(inner)
        case inspect.IntType(ge=None, le=None):
            return "integer"
        case inspect.IntType(ge=low, le=high):
            return f"integer {low} to {high}"
        case inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "boolean"
        case inspect.StrType(min_length=None, max_length=None):
            return "string"
        case inspect.StrType(min_length=None, max_length=high):
            return f"string, at most {high} characters"
        case inspect.StrType(min_length=low, max_length=high):
            return f"string, {low} to {high} characters"
        case inspect.LiteralType(values=values):
            return " or ".join(f'"{value}"' for value in sorted(values))
        case inspect.ListType(item_type=item, max_length=None):
            return f"array of {words(item)}"
        case inspect.ListType(item_type=item, max_length=high):
            return f"array of {words(item)}, at most {high}"
        case inspect.EnumType(cls=cls):
            return " or ".join(f'"{each.value}"' for each in sorted(cls, key=lambda each: str(each.value)))
        case inspect.StructType(cls=cls):
            return named(cls)
        case inspect.UnionType(types=types):
            rest = [words(each) for each in types if not isinstance(each, inspect.NoneType)]
            assert len(rest) == 1, "only a type or null has words"
            return f"{rest[0]}, or null" if "," in rest[0] else f"{rest[0]} or null"
    raise AssertionError(f"no words for {kind}")


def rows_of(model: type) -> list[Row]:
    """What the document's table of a struct must say, without the meaning."""
    info = inspect.type_info(model)
    assert isinstance(info, inspect.StructType)
    rows = []
    for each in info.fields:
        required = "yes" if each.required else f"no: {json.dumps(each.default)}"
        rows.append([f"`{each.encode_name}`", words(each.type), required])
    return rows


def push_rows(model: type) -> list[Row]:
    """An event of a room is a push once it has its number."""
    return [["`seq`", "integer", "yes"], *rows_of(model)]


def tag(model: Any) -> str:
    return str(model.__struct_config__.tag)


MESSAGES = [
    *(("Client messages", tag(model), model) for model in CLIENT),
    *(("Answers", tag(model), model) for model in ANSWERS),
    *(("Pushes", tag(model), model) for model in PUSHES),
    *(("Objects", named(model), model) for model in OBJECTS),
]


@pytest.mark.parametrize("chapter, title, model", MESSAGES, ids=[title for _, title, _ in MESSAGES])
def test_every_message_has_its_fields_types_and_limits(
    sections: list[Section], chapter: str, title: str, model: type
) -> None:
    section = below(sections, chapter)[title]
    header, *rows = section.tables[0]
    assert header == ["field", "type", "required", "meaning"]
    assert [row[:3] for row in rows] == (push_rows(model) if model in PUSHES else rows_of(model))
    assert all(row[3] for row in rows), "every field has a meaning"


@pytest.mark.parametrize("chapter", ["Client messages", "Answers", "Pushes", "Objects"])
def test_the_document_has_no_message_that_the_code_has_not(sections: list[Section], chapter: str) -> None:
    assert list(below(sections, chapter)) == [title for place, title, _ in MESSAGES if place == chapter]


@pytest.mark.parametrize("model", CLIENT, ids=tag)
def test_examples_of_client_messages_are_read_by_the_server(sections: list[Section], model: type) -> None:
    examples = below(sections, "Client messages")[tag(model)].examples
    assert examples
    for example in examples:
        message = messages.decode(example)
        assert isinstance(message, model)
        assert set(json.loads(example)) == {"type", *(row[0].strip("`") for row in rows_of(model))}


@pytest.mark.parametrize("model", [*ANSWERS, *PUSHES], ids=tag)
def test_examples_of_server_messages_are_what_the_server_writes(sections: list[Section], model: Any) -> None:
    chapter = "Answers" if model in ANSWERS else "Pushes"
    examples = below(sections, chapter)[tag(model)].examples
    assert examples
    for example in examples:
        message = msgspec.json.decode(example, type=messages.ServerAnswer | events.RoomEvent)
        assert isinstance(message, model)
        frame = messages.encode(message)
        if model in PUSHES:
            frame = messages.numbered(frame, json.loads(example)["seq"])
        assert json.loads(frame) == json.loads(example)


def test_every_error_code_has_its_close_code_meaning_and_advice(sections: list[Section]) -> None:
    header, *rows = titled(sections, "Error codes").tables[0]
    assert header == ["code", "close", "meaning", "what to do"]
    expected = [[f"`{each.code}`", str(int(each.close)) if each.close else "", each.meaning] for each in ErrorCode]
    assert [row[:3] for row in rows] == expected
    assert all(row[3] for row in rows)


def test_every_close_code_stands_in_the_document(sections: list[Section]) -> None:
    header, *rows = titled(sections, "Close codes").tables[0]
    assert header == ["code", "name", "meaning", "what to do"]
    assert [row[:2] for row in rows] == [[str(int(code)), code.name] for code in CloseCode]


def test_every_fatal_error_is_named_with_its_close_code(sections: list[Section]) -> None:
    rows = {int(row[0]): row for row in titled(sections, "Close codes").tables[0][1:]}
    for each in ErrorCode:
        if each.close is not None and each.close is not CloseCode.TOKEN:
            assert f"`{each.code}`" in rows[int(each.close)][2]


def test_bodies_of_the_http_api_have_their_fields(sections: list[Section]) -> None:
    found: dict[str, list[Row]] = {}
    examples: dict[str, str] = {}
    for section in below(sections, "HTTP").values():
        names = re.findall(r"^(?:Request |Answer \d+ )?`([A-Z]\w+)`", "\n".join(section.lines), re.MULTILINE)
        found |= dict(zip(names, section.tables, strict=True))
        examples |= dict(zip(names, section.examples))
    assert set(found) == {model.__name__ for model in BODIES}
    for model in BODIES:
        assert [row[:3] for row in found[model.__name__][1:]] == rows_of(model), model.__name__
        if model is not http.TokenHolder:
            example = examples[model.__name__]
            msgspec.json.decode(example, type=model)
            assert set(json.loads(example)) <= {row[0].strip("`") for row in rows_of(model)}


def test_codes_of_http_problems_stand_in_the_document(sections: list[Section]) -> None:
    package = Path(__file__).resolve().parents[2]
    raised: set[str] = set()
    for path in [
        *package.glob("signalling/*.py"),
        package / "server" / "ice_servers.py",
        package / "backplane" / "web.py",
    ]:
        raised |= set(re.findall(r'Problem\(\s*\w+, "(\w+)"', path.read_text()))
    text = "\n".join(titled(sections, "HTTP").lines)
    assert len(raised) > 10
    assert {code for code in raised if f"`{code}`" not in text} == set()


def test_limits_are_those_of_the_code(document: str, sections: list[Section]) -> None:
    limits = {row[0]: row[1] for row in titled(sections, "Limits").tables[0][1:]}
    assert limits == {
        "frame": f"{messages.MAX_FRAME_BYTES // 1024} KiB",
        "compressed frame": (
            f"{messages.MAX_FRAME_BYTES // 1024} KiB when inflated; "
            f"counts as one more message for each {BYTES_OF_ONE_MESSAGE // 1024} KiB of that"
        ),
        "silence before `join` or `resume`": (
            f"{LIMITS.silence_s:.0f} s in which no message came whole and no long one came on, "
            f"and {LIMITS.longest_s / 60:.0f} minutes whatever is said"
        ),
        "messages": (f"{MESSAGES_PER_S:.0f} per second, {MESSAGES_BURST:.0f} at once; `join` and `offer` count as 10"),
        "refused messages": f"{FAULTS_PER_S:.0f} per second, {FAULTS_BURST:.0f} at once",
        "heartbeat": (
            f"WebSocket ping every {HEARTBEAT_S:.0f} s, to be answered within {HEARTBEAT_S / 2:.0f} s, "
            f"or {PONG_LONGEST_S:.0f} s while TCP acknowledges what is sent"
        ),
        "unread messages": f"{LIMITS.queue_frames} frames or {LIMITS.queue_bytes // 2**20} MiB",
        "sockets that have not joined": f"{MAX_WAITING_PER_ADDRESS} per address (/64 for IPv6)",
        "frames of any kind, control frames and fragments included": (
            f"{LIMITS.frames_per_s:.0f} per second, {LIMITS.frames_burst:.0f} at once"
        ),
        "sockets": f"{MAX_SOCKETS_PER_ADDRESS} per address (/64 for IPv6)",
        "people in a room": str(MAX_PARTICIPANTS),
        "rooms that were begun from one address (/64 for IPv6) and are not over": (
            f"{Settings().rooms_per_address} (`rooms_per_address`)"
        ),
        "people from one address in rooms": f"{Settings().people_per_address} (`people_per_address`)",
        "a room in which nobody has a media path that is alive": f"{Settings().room_idle_s} s (`room_idle_s`)",
        "m-lines that send, or did and were not stopped": str(MAX_TRACKS),
    }
    assert f"`{COMPRESSED_SUBPROTOCOL}`" in document
    assert f"compresses from {COMPRESS_FROM_BYTES} bytes on" in document
    assert f"`resume_window_s` ({RESUME_WINDOW_S} s)" in document
    assert f"more than {Settings().tokens_per_minute} rooms and tokens in a minute" in document
    assert f"at most {MAX_REPLAY_MESSAGES} pushes or\n  {MAX_REPLAY_BYTES // 1024} KiB are kept" in document


def test_the_version_is_that_of_the_code(document: str) -> None:
    assert document.splitlines()[0].endswith(messages.SUBPROTOCOL)
    assert f"Version {messages.VERSION}." in document
