"""One socket's conversation: order, errors, limits. Hostile input gets a code and costs nobody else anything."""

import json
import random
from typing import Any

import pytest

from signalling.codes import CloseCode
from signalling.conversation import FAULTS_BURST, MESSAGES_BURST
from tests.signalling.fakes import World

MALFORMED: list[tuple[str | bytes, str]] = [
    ("", "bad_json"),
    ("{", "bad_json"),
    ("hello", "bad_json"),
    ("NaN", "bad_json"),
    (b"\xff\xfe\x00", "bad_json"),
    (b'{"type":"mute","id":1,"mid":"\xff","muted":true}', "bad_json"),
    ('{"type":"mute","id":1,"mid":"\\ud800","muted":true}', "bad_json"),
    ("[" * 100_000, "bad_json"),
    ("[" * 100_000 + "]" * 100_000, "bad_json"),
    ('{"a":' * 40_000 + "1" + "}" * 40_000, "bad_json"),
    ("[]", "bad_message"),
    ("null", "bad_message"),
    ('"join"', "bad_message"),
    ("{}", "bad_message"),
    ('{"id":1}', "bad_message"),
    ('{"type":7,"id":1}', "bad_message"),
    ('{"type":null,"id":1}', "bad_message"),
    ('{"type":["ping"],"id":1}', "bad_message"),
    ('{"type":"ping"}', "bad_message"),
    ('{"type":"ping","id":0}', "bad_message"),
    ('{"type":"ping","id":-1}', "bad_message"),
    ('{"type":"ping","id":1.5}', "bad_message"),
    ('{"type":"ping","id":"1"}', "bad_message"),
    ('{"type":"ping","id":true}', "bad_message"),
    ('{"type":"ping","id":1e400}', "bad_message"),
    ('{"type":"ping","id":' + "9" * 4000 + "}", "bad_message"),
    ('{"type":"ping","id":1,"more":1}', "bad_message"),
    ('{"type":"mute","id":1,"mid":"0","muted":1}', "bad_message"),
    ('{"type":"mute","id":1,"mid":"","muted":true}', "bad_message"),
    ('{"type":"mute","id":1,"mid":"' + "m" * 17 + '","muted":true}', "bad_message"),
    ('{"type":"join","id":1,"token":"t","offer":"o","tracks":[{"mid":"0","source":"nose"}]}', "bad_message"),
    ('{"type":"join","id":1,"token":"t","offer":"o","tracks":{}}', "bad_message"),
    ('{"type":"join","id":1,"token":"' + "t" * 4097 + '","offer":"o","tracks":[]}', "bad_message"),
    ('{"type":"prefer","id":1,"participants":' + json.dumps(["p"] * 101) + "}", "bad_message"),
    ('{"type":"joined","id":1}', "unknown_type"),
    ('{"type":"PING","id":1}', "unknown_type"),
    ('{"type":"__class__","id":1}', "unknown_type"),
]


@pytest.mark.parametrize("frame, code", MALFORMED, ids=range(len(MALFORMED)))
def test_a_faulty_frame_gets_its_code_and_the_call_goes_on(world: World, frame: str | bytes, code: str) -> None:
    other, client = world.joined("Amina"), world.joined("Bilal")
    client.send(frame)
    error = client.link.last
    assert (error["type"], error["code"], error["fatal"]) == ("error", code, False)
    assert 0 < len(error["message"]) <= 200
    assert client.say("ping")["type"] == "pong"
    assert len(other.link.frames) == 2, "nobody else heard of it"


def test_the_id_of_a_faulty_request_is_repeated_where_it_can_be_read(world: World) -> None:
    client = world.joined()
    client.send('{"type":"mute","id":77,"mid":5,"muted":true}')
    assert client.link.last["re"] == 77
    client.send('{"type":"dance","id":78}')
    assert client.link.last["re"] == 78
    client.send('{"type":"ping","id":"x"}')
    assert client.link.last["re"] is None


@pytest.mark.parametrize(
    "type, fields",
    [
        ("offer", {"sdp": "v=0", "tracks": []}),
        ("mute", {"mid": "0", "muted": True}),
        ("prefer", {"participants": []}),
        ("remove", {"participant": "p1"}),
        ("leave", {}),
    ],
)
def test_nothing_but_join_and_resume_comes_first(world: World, type: str, fields: dict[str, Any]) -> None:
    client = world.client()
    answer = client.say(type, **fields)
    assert (answer["code"], answer["re"], answer["fatal"]) == ("not_joined", 1, True)
    assert client.link.code is CloseCode.PROTOCOL


def test_a_joined_socket_joins_no_second_time(world: World) -> None:
    client = world.joined()
    assert client.say("resume", session="s", secret="s", seen=0)["code"] == "already_joined"
    assert client.join()["code"] == "already_joined"
    assert client.say("ping")["type"] == "pong"


def test_a_pong_tells_the_time(world: World) -> None:
    assert world.joined().say("ping") == {"type": "pong", "re": 2, "time_ms": int(world.wall * 1000)}


def test_a_flood_is_cut_off_and_the_session_can_be_resumed(world: World) -> None:
    other, client = world.joined("Amina"), world.joined("Bilal")
    for _ in range(int(MESSAGES_BURST) + 1):
        client.say("ping")
    assert client.link.last["code"] == "rate_limited"
    assert client.link.code is CloseCode.RATE
    answered = len(client.link.frames)
    for _ in range(1000):
        client.send('{"type":"ping","id":1}')
    assert len(client.link.frames) == answered, "a closed conversation answers nothing"
    assert other.link.of("participant_left") == []
    assert world.client().resume(client)["type"] == "resumed"


def test_messages_at_an_honest_pace_are_never_cut_off(world: World) -> None:
    client = world.joined()
    for number in range(600):
        world.advance(0.5)
        for _ in range(5):
            assert client.say("mute", mid="0", muted=bool(number % 2))["type"] == "done"


def test_offers_cost_more_than_other_messages(world: World) -> None:
    client = world.joined()
    kinds = [client.say("offer", sdp="more", tracks=[])["type"] for _ in range(25)]
    assert 10 < kinds.count("answer") < 25
    assert client.link.code is CloseCode.RATE


def test_refusals_are_limited_too(world: World) -> None:
    client = world.joined()
    for _ in range(int(FAULTS_BURST) + 1):
        client.send("{")
    assert client.link.last["code"] == "rate_limited"
    assert len(client.link.of("error")) == FAULTS_BURST + 1


def test_random_frames_never_break_a_conversation(world: World, rng: random.Random) -> None:
    other = world.joined("Amina")
    alphabet = ['"', "{", "}", "[", "]", ":", ",", "type", "id", "join", "mute", "1", "-", "e9", "null", "\\u0000", "é"]
    for _ in range(300):
        client = world.client()
        for _ in range(10):
            client.send("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 30))))
        assert all(frame["type"] == "error" for frame in client.link.frames)
    assert other.say("ping")["type"] == "pong"
