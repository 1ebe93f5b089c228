"""Joins, resumes, leaving, tokens: what several clients of one server see, in fake time."""

import pytest

from sfu.events import ParticipantLeft, RoomEvent
from signalling import sessions
from signalling.codes import CloseCode
from signalling.messages import encode
from signalling.session import RESUME_WINDOW_S
from tests.signalling.fakes import Client, World


def connection_of(client: Client, name: str) -> str:
    """The newest connection state of somebody, as ``client`` was told."""
    entries = [frame["participant"] for frame in client.link.of("participant_updated")]
    return [entry["connection"] for entry in entries if entry["name"] == name][-1]


def test_a_join_is_answered_with_everything_the_client_needs(world: World) -> None:
    world.joined("Amina", role="host")
    answer = world.joined("Bilal").joined
    assert answer["re"] == 1
    assert answer["answer"] == "answer to v=0"
    assert answer["room"] == "room"
    assert [person["name"] for person in answer["participants"]] == ["Amina"]
    assert answer["rights"] == ["publish", "subscribe"]
    assert answer["resume_window_s"] == RESUME_WINDOW_S
    assert answer["slots"][0]["mid"] == "2"


def test_the_others_hear_of_a_join_and_the_joiner_does_not(world: World) -> None:
    first = world.joined("Amina")
    second = world.joined("Bilal")
    assert first.link.of("participant_joined")[0]["participant"]["name"] == "Bilal"
    assert [frame["type"] for frame in second.link.frames] == ["joined"]


def test_rooms_do_not_hear_each_other(world: World) -> None:
    first = world.joined("Amina", room="one")
    world.joined("Bilal", room="two")
    assert [frame["type"] for frame in first.link.frames] == ["joined"]


@pytest.mark.parametrize(
    "name, role, shown",
    [("n" * 120, "guest", "n" * 64), ("\u202eAmina\nKhan", "guest", "Amina Khan"), ("\u200b", "host", "Host")],
)
def test_a_name_from_another_signer_is_shown_as_safely_as_one_of_ours(
    world: World, name: str, role: str, shown: str
) -> None:
    """Those of visits are what a patient signed up with, up to 120 characters."""
    first = world.joined("Bilal")
    second = world.client()
    second.say("join", token=world.token(name, role=role), offer="v=0", tracks=[])
    assert first.link.last["participant"]["name"] == shown


@pytest.mark.parametrize(
    "change, code",
    [
        ({"lifetime_s": -10}, "token_expired"),
        ({"not_before": 1_800_000_100}, "token_not_yet_valid"),
    ],
)
def test_a_token_outside_its_time_is_refused(world: World, change: dict[str, int], code: str) -> None:
    if "lifetime_s" in change:
        token = world.token("Amina", lifetime_s=5)
        world.now += 5
    else:
        token = world.token("Amina", **change)
    client = world.client()
    answer = client.say("join", token=token, offer="v=0", tracks=[])
    assert (answer["code"], answer["fatal"]) == (code, True)
    assert client.link.code is CloseCode.TOKEN


def test_an_altered_token_is_refused(world: World) -> None:
    client = world.client()
    assert client.say("join", token=world.token("Amina")[:-2] + "xx", offer="v=0", tracks=[])["code"] == "bad_token"


def test_a_refused_offer_leaves_the_socket_usable(world: World) -> None:
    client = world.client()
    answer = client.say("join", token=world.token("Amina"), offer="bad", tracks=[])
    assert (answer["code"], answer["message"], answer["fatal"]) == ("bad_sdp", "line 1 cannot be read", False)
    assert world.node.rooms == []
    assert client.join()["type"] == "joined"


def test_our_own_fault_is_a_server_error_and_no_close(world: World) -> None:
    client = world.client()
    answer = client.say("join", token=world.token("Amina"), offer="crash", tracks=[])
    assert (answer["code"], answer["re"]) == ("server_error", 1)
    assert client.link.code is None


def test_a_server_takes_no_more_rooms_than_it_may_have(world: World) -> None:
    for number in range(100):
        world.joined("Amina", room=f"room {number}")
    assert world.client().join(room="one too many")["code"] == "room_full"
    assert world.client().join("Bilal", room="room 7")["type"] == "joined"


def test_a_lost_socket_shows_as_reconnecting_and_a_resumed_one_as_connected(world: World) -> None:
    first, second = world.joined("Amina"), world.joined("Bilal")
    second.lose()
    assert connection_of(first, "Bilal") == "reconnecting"
    world.advance(5)
    answer = world.client().resume(second)
    assert (answer["type"], answer["generation"]) == ("resumed", 2)
    assert [person["name"] for person in answer["participants"]] == ["Amina"]
    assert connection_of(first, "Bilal") == "connected"
    assert first.link.of("participant_left") == []


def test_resumed_comes_before_the_replay(world: World) -> None:
    first, second = world.joined("Amina"), world.joined("Bilal")
    second.lose()
    world.joined("Chanda")
    first.say("leave")
    third = world.client()
    third.resume(second)
    assert [frame["type"] for frame in third.link.frames] == ["resumed", "participant_joined", "participant_left"]
    assert [frame["seq"] for frame in third.link.frames[1:]] == [1, 2]


def test_only_what_was_not_seen_is_replayed(world: World) -> None:
    first = world.joined("Amina")
    world.joined("Bilal")
    first.lose()
    world.joined("Chanda")
    again = world.client()
    again.resume(first, seen=1)
    assert [frame.get("seq") for frame in again.link.frames] == [None, 2]


def test_numbers_go_on_after_a_resume(world: World) -> None:
    first = world.joined("Amina")
    world.joined("Bilal")
    first.lose()
    again = world.client()
    again.resume(first, seen=1)
    world.joined("Chanda")
    assert again.link.last["seq"] == 2


def test_a_participant_is_taken_out_when_the_window_has_passed(world: World) -> None:
    first, second = world.joined("Amina"), world.joined("Bilal")
    second.lose()
    world.advance(RESUME_WINDOW_S - 1)
    assert first.link.of("participant_left") == []
    world.advance(1)
    assert first.link.last["reason"] == "connection_lost"
    assert world.client().resume(second)["code"] == "unknown_session"
    assert len(world.calls) == 1


def test_a_wrong_secret_opens_no_session(world: World) -> None:
    client = world.joined("Amina")
    thief = world.client()
    answer = thief.say("resume", session=client.joined["session"], secret="guess", seen=0)
    assert answer["code"] == "unknown_session"
    assert thief.link.code is CloseCode.UNKNOWN_SESSION
    assert client.link.code is None


def test_the_second_socket_replaces_the_first_and_the_late_close_changes_nothing(world: World) -> None:
    other, first = world.joined("Bilal"), world.joined("Amina")
    second = world.client()
    assert second.resume(first)["generation"] == 2
    assert first.link.last["reason"] == "replaced"
    assert first.link.code is CloseCode.REPLACED
    first.lose()
    world.advance(2 * RESUME_WINDOW_S)
    assert other.link.of("participant_left") == []
    assert other.link.of("participant_updated") == []
    assert second.say("mute", mid="0", muted=True)["type"] == "done"


def test_a_replaced_socket_has_no_say_any_more(world: World) -> None:
    first = world.joined("Amina")
    second = world.client()
    second.resume(first)
    first.say("leave")
    assert second.say("mute", mid="0", muted=True)["type"] == "done"


def test_the_same_token_again_is_a_new_participant_and_the_old_one_hears_replaced(world: World) -> None:
    first = world.joined("Amina")
    second = world.joined("Amina")
    assert first.link.last == {"type": "bye", "seq": 1, "reason": "replaced"}
    assert first.link.code is CloseCode.BYE
    assert second.joined["participant"] != first.joined["participant"]
    assert second.joined["participants"] == []


def test_leaving_is_answered_and_closes(world: World) -> None:
    first, second = world.joined("Amina"), world.joined("Bilal")
    assert second.say("leave")["type"] == "done"
    assert second.link.code is CloseCode.NORMAL
    assert first.link.last["reason"] == "left"
    assert world.client().resume(second)["code"] == "unknown_session"


def test_a_host_removes_somebody_and_their_token_with_them(world: World) -> None:
    host = world.joined("Amina", role="host")
    guest = world.client()
    token = world.token("Bilal")
    guest.joined = guest.say("join", token=token, offer="v=0", tracks=[])
    assert host.say("remove", participant=guest.joined["participant"])["type"] == "done"
    assert guest.link.last["reason"] == "removed"
    assert guest.link.code is CloseCode.BYE
    assert world.client().say("join", token=token, offer="v=0", tracks=[])["code"] == "token_revoked"


def test_a_guest_may_not_remove(world: World) -> None:
    host, guest = world.joined("Amina", role="host"), world.joined("Bilal")
    answer = guest.say("remove", participant=host.joined["participant"])
    assert (answer["code"], answer["fatal"]) == ("forbidden", False)
    assert host.link.code is None


def test_who_was_put_out_while_away_hears_so_on_return(world: World) -> None:
    host, guest = world.joined("Amina", role="host"), world.joined("Bilal")
    guest.lose()
    host.say("remove", participant=guest.joined["participant"])
    again = world.client()
    assert again.resume(guest)["type"] == "resumed"
    assert again.link.last["reason"] == "removed"
    assert again.link.code is CloseCode.BYE


def test_an_ended_session_is_forgotten_after_the_window(world: World) -> None:
    host, guest = world.joined("Amina", role="host"), world.joined("Bilal")
    host.say("remove", participant=guest.joined["participant"])
    assert len(world.calls) == 2
    world.advance(RESUME_WINDOW_S)
    assert len(world.calls) == 1


def test_a_call_ends_when_its_token_expires(world: World) -> None:
    client = world.joined("Amina", lifetime_s=60)
    world.advance(59)
    assert client.link.code is None
    world.advance(1)
    assert client.link.last["reason"] == "token_expired"
    assert world.node.rooms == []


def test_revoking_a_token_puts_out_who_is_in_with_it(world: World) -> None:
    first, second = world.joined("Amina"), world.joined("Bilal")
    claims = world.tokens.verify(world.token("Chanda"), world.wall)
    assert world.calls.revoke(claims.jti, claims.exp, world.now) == 0
    third = world.client()
    token = world.token("Danish")
    third.say("join", token=token, offer="v=0", tracks=[])
    claims = world.tokens.verify(token, world.wall)
    assert world.calls.revoke(claims.jti, claims.exp, world.now) == 1
    assert third.link.last["reason"] == "revoked"
    assert first.link.code is None
    assert second.link.code is None


def test_revoking_a_room_puts_out_everybody_in_it_and_nobody_else(world: World) -> None:
    first, second, other = world.joined("A"), world.joined("B"), world.joined("C", room="other")
    assert world.calls.revoke_room("room", world.now) == 2
    assert first.link.last["reason"] == second.link.last["reason"] == "revoked"
    assert other.link.code is None
    world.now += 1
    assert world.joined("A").joined["participants"] == []


def test_draining_says_bye_to_everybody_and_takes_nobody_in(world: World) -> None:
    clients = [world.joined("A"), world.joined("B", room="other")]
    world.calls.drain(world.now)
    assert [client.link.last["reason"] for client in clients] == ["draining", "draining"]
    answer = world.client().join("C")
    assert (answer["code"], answer["fatal"]) == ("draining", True)


def test_an_offer_is_answered_with_the_slots(world: World) -> None:
    client = world.joined("Amina")
    answer = client.say("offer", sdp="more", tracks=[{"mid": "9", "source": "screen"}])
    assert (answer["type"], answer["sdp"], answer["re"]) == ("answer", "answer to more", 2)
    assert client.say("offer", sdp="bad", tracks=[])["code"] == "bad_sdp"


def test_two_tracks_with_one_mid_are_refused(world: World) -> None:
    tracks = [{"mid": "0", "source": "camera"}, {"mid": "0", "source": "screen"}]
    assert world.joined("Amina").say("offer", sdp="more", tracks=tracks)["code"] == "bad_message"


def test_requests_reach_the_room(world: World) -> None:
    client = world.joined("Amina")
    assert client.say("mute", mid="0", muted=True) == {"type": "done", "re": 2}
    assert client.say("prefer", participants=["p7"]) == {"type": "done", "re": 3}
    assert client.say("mute", mid="5", muted=True)["code"] == "unknown_mid"
    me = client.joined["participant"]
    assert world.node.all_rooms["room"].calls == [("mute", me, "0", True), ("prefer", me, ("p7",))]


def test_a_push_that_fails_for_one_is_heard_by_the_others(world: World) -> None:
    first, second = world.joined("Amina"), world.joined("Bilal")
    unheard = ParticipantLeft("\ud800", "left")  # which JSON cannot say
    world.node.notify([first.joined["participant"], second.joined["participant"]], unheard)
    world.joined("Chanda")
    assert first.link.last["type"] == second.link.last["type"] == "participant_joined"


def test_an_event_is_encoded_once_for_all_who_hear_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [world.joined(name) for name in ("Amina", "Bilal", "Chanda")]
    encoded: list[object] = []

    def counted(event: RoomEvent) -> bytes:
        encoded.append(event)
        return encode(event)

    monkeypatch.setattr(sessions, "encode", counted)
    world.joined("Dawud")
    assert [client.link.last["seq"] for client in clients] == [3, 2, 1]
    assert len(encoded) == 1


def test_sessions_leave_nothing_behind(world: World) -> None:
    for _ in range(50):
        clients = [world.joined(name) for name in "abc"]
        clients[0].say("leave")
        clients[1].lose()
    world.advance(RESUME_WINDOW_S + 1)
    for client in clients:
        client.lose()
    world.advance(RESUME_WINDOW_S + 1)
    assert len(world.calls) == 0
    assert world.sessions._by_participant == {}
    assert world.sessions._in_call == set()
    assert world.node.rooms == []


def test_a_fault_in_one_session_does_not_keep_the_others_from_their_end(world: World) -> None:
    broken, sound = world.joined("Amina", room="one", lifetime_s=5), world.joined("Bilal", room="two", lifetime_s=5)
    room = world.node.find("one")
    assert room is not None
    room.expel = None  # type: ignore[assignment]
    world.now += 6
    world.calls.sweep(world.now)
    assert broken.link.of("bye") == []
    assert sound.link.of("bye")[0]["reason"] == "token_expired"


def test_a_receiver_whose_socket_fails_keeps_nothing_from_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, broken, other = (world.joined(name) for name in ("Amina", "Bilal", "Chandra"))

    def fail(frame: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(broken.link, "send", fail)
    world.joined("Dawud")
    for client in (host, other):
        assert client.link.of("participant_joined")[-1]["participant"]["name"] == "Dawud"


def test_somebody_who_cannot_be_put_out_keeps_nobody_else_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who withdraws a room's tokens withdraws all of them."""
    clients = [world.joined(name) for name in ("Amina", "Bilal", "Chandra")]
    room = world.node.all_rooms["room"]
    expel, first = room.expel, clients[0].joined["participant"]

    def expel_or_fail(id: str, reason: str, now: float) -> None:
        if id == first:
            raise ZeroDivisionError
        expel(id, reason, now)

    monkeypatch.setattr(room, "expel", expel_or_fail)
    world.calls.revoke_room("room", world.now)
    assert [client.link.code for client in clients[1:]] == [CloseCode.BYE] * 2
