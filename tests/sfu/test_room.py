"""Rooms: joining, leaving, rights, what others are told."""

import re

import msgspec
import pytest

from rtc.sdp import parse
from rtc.sdp_answer import Policy
from rtc.worker_events import EventKind
from sfu.protocol import MAX_PARTICIPANTS, DeclaredTrack, Right, RoomError, Source
from tests.rtc.offers import load, session
from tests.sfu.fakes import ALL_RIGHTS, AUDIO_OFFER, MICROPHONE_AND_CAMERA, OFFER, House

MICROPHONE = (DeclaredTrack("0", Source.MICROPHONE),)


@pytest.fixture
def house() -> House:
    return House()


def test_first_join_gives_answer_and_empty_slots(house: House) -> None:
    joined = house.join("ann")
    assert parse(joined.answer_sdp).ice_lite
    assert joined.participants == []
    assert [slot.kind for slot in joined.slots] == ["audio"] * 3 + ["video"] * 8
    assert all(slot.track is None for slot in joined.slots)


def test_second_join_sees_the_first_and_is_seen(house: House) -> None:
    ann = house.join("ann")
    bob = house.join("bob")
    assert [person.id for person in bob.participants] == [ann.participant_id]
    assert msgspec.to_builtins(bob.participants[0].tracks) == [
        {"id": "t1", "source": "microphone", "kind": "audio", "muted": False},
        {"id": "t2", "source": "camera", "kind": "video", "muted": False},
    ]
    filled = [msgspec.to_builtins(slot) for slot in bob.slots if slot.track]
    assert filled == [
        {"mid": "2", "kind": "audio", "track": "t1", "participant": ann.participant_id, "source": "microphone"},
        {"mid": "5", "kind": "video", "track": "t2", "participant": ann.participant_id, "source": "camera"},
    ]
    (told,) = house.mail(ann.participant_id, "participant_joined")
    assert told["participant"]["id"] == bob.participant_id
    (slots,) = house.mail(ann.participant_id, "slots")
    assert [slot["track"] for slot in slots["slots"] if slot["track"]] == ["t3", "t4"]
    assert house.inbox.get(bob.participant_id) is None, "the joiner hears everything by its answer"


def test_worker_is_told_what_the_answer_says(house: House) -> None:
    ann = house.join("ann")
    house.join("bob")
    worker = house.worker
    names = [command.name for command in worker.commands]
    assert names[0] == "add_transport"
    reply = parse(ann.answer_sdp)
    assert worker.transports[house.transport(0)] == (reply.media[0].ufrag, reply.media[0].password)
    legs = [leg for leg in worker.legs.values() if leg["transport"] == house.transport(0)]
    assert [leg["ssrc"] for leg in legs] == [media.ssrcs[0] for media in reply.media if media.ssrcs]
    fed = {worker.legs[leg]["mid"]: worker.tracks[track]["mid"] for leg, track in worker.sources.items()}
    assert fed == {"2": "0", "5": "1"}


def test_leaving_empties_slots_and_tells(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob")
    house.clear()
    house.room().leave(ann.participant_id, "left", house.now)
    (told,) = house.mail(bob.participant_id, "participant_left")
    assert told == {"type": "participant_left", "participant": ann.participant_id, "reason": "left"}
    (slots,) = house.mail(bob.participant_id, "slots")
    assert all(slot["track"] is None for slot in slots["slots"])
    assert house.mail(ann.participant_id, "bye") == []
    assert len(house.worker.transports) == 1
    assert house.worker.sources == {}


def test_joining_and_leaving_needs_no_renegotiation(house: House) -> None:
    house.join("ann")
    before = len(house.worker.named("add_leg"))
    for round_ in range(20):
        guest = house.join(f"guest{round_}")
        house.room().leave(guest.participant_id, "left", house.now)
    legs_of_ann = [c for c in house.worker.named("add_leg") if c.args[1] == house.transport(0)]
    assert len(legs_of_ann) == before
    assert len(house.worker.transports) == 1


def test_room_is_gone_when_empty(house: House) -> None:
    ann = house.join("ann")
    house.room().leave(ann.participant_id, "left", house.now)
    assert house.node.find("room") is None
    house.room().leave(ann.participant_id, "left", house.now)


def test_room_holds_25_people(house: House) -> None:
    for index in range(MAX_PARTICIPANTS):
        house.join(f"guest{index}", offer=AUDIO_OFFER, tracks=MICROPHONE)
    with pytest.raises(RoomError) as refused:
        house.join("late", offer=AUDIO_OFFER, tracks=MICROPHONE)
    assert refused.value.code == "room_full"
    house.join("guest3", offer=AUDIO_OFFER, tracks=MICROPHONE)
    assert len(house.room()) == MAX_PARTICIPANTS


def test_same_identity_replaces_its_former_self(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob")
    house.clear()
    again = house.join("ann")
    assert house.mail(ann.participant_id, "bye") == [{"type": "bye", "reason": "replaced"}]
    kinds = [message["type"] for message in house.inbox[bob.participant_id]]
    assert kinds == ["participant_left", "participant_joined", "slots"]
    assert again.participant_id != ann.participant_id
    house.room().leave(ann.participant_id, "connection_lost", house.now)
    assert len(house.room()) == 2, "the late leave of the old one changes nothing"


def test_only_one_in_the_room_can_be_replaced_too(house: House) -> None:
    room = house.room()
    house.join("ann")
    house.join("ann")
    assert house.node.find("room") is room
    assert len(room) == 1


@pytest.mark.parametrize(
    "offer, tracks, rights, code",
    [
        ("nonsense", MICROPHONE, ALL_RIGHTS, "bad_sdp"),
        (AUDIO_OFFER.replace("opus/", "x/"), MICROPHONE, ALL_RIGHTS, "no_codec"),
        (AUDIO_OFFER, (DeclaredTrack("7", Source.MICROPHONE),), ALL_RIGHTS, "unknown_mid"),
        (AUDIO_OFFER, (DeclaredTrack("1", Source.MICROPHONE),), ALL_RIGHTS, "unknown_mid"),
        (AUDIO_OFFER, (DeclaredTrack("0", Source.CAMERA),), ALL_RIGHTS, "bad_message"),
        (AUDIO_OFFER, MICROPHONE, frozenset({Right.SUBSCRIBE}), "forbidden"),
        (AUDIO_OFFER, (), frozenset({Right.SUBSCRIBE, Right.SHARE_SCREEN}), "forbidden"),
        (OFFER, (DeclaredTrack("1", Source.SCREEN),), frozenset({Right.PUBLISH}), "forbidden"),
    ],
)
def test_refused_join_leaves_no_trace(
    house: House, offer: str, tracks: tuple[DeclaredTrack, ...], rights: frozenset[Right], code: str
) -> None:
    with pytest.raises(RoomError) as refused:
        house.join("ann", offer=offer, tracks=tracks, rights=rights)
    assert refused.value.code == code
    assert house.worker.commands == []
    assert house.node.find("room") is None


def test_refused_rejoin_does_not_put_out_the_former_self(house: House) -> None:
    ann = house.join("ann")
    with pytest.raises(RoomError):
        house.join("ann", offer="nonsense")
    assert house.mail(ann.participant_id, "bye") == []
    assert len(house.room()) == 1


def test_without_the_right_to_subscribe_nothing_is_received(house: House) -> None:
    house.join("ann")
    blind = house.join("bob", rights=frozenset({Right.PUBLISH}))
    assert blind.slots == []
    assert all(leg["transport"] == house.transport(0) for leg in house.worker.legs.values())


def test_undeclared_sending_lines_are_microphone_and_camera(house: House) -> None:
    ann = house.join("ann", tracks=())
    bob = house.join("bob")
    (person,) = bob.participants
    assert [track.source for track in person.tracks] == ["microphone", "camera"]
    assert person.id == ann.participant_id


def test_mute_is_told_at_once(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob")
    house.clear()
    house.room().mute(ann.participant_id, "0", True, house.now)
    (told,) = house.mail(bob.participant_id, "participant_updated")
    assert told["participant"]["tracks"][0]["muted"] is True
    house.room().mute(ann.participant_id, "0", True, house.now)
    assert len(house.mail(bob.participant_id, "participant_updated")) == 1
    assert house.mail(ann.participant_id, "participant_updated") == []


def test_mute_of_something_that_is_not_published_is_refused(house: House) -> None:
    ann = house.join("ann")
    for mid in ("2", "99"):
        with pytest.raises(RoomError) as refused:
            house.room().mute(ann.participant_id, mid, True, house.now)
        assert refused.value.code == "unknown_mid"


def test_only_moderators_remove(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob", rights=ALL_RIGHTS - {Right.MODERATE})
    with pytest.raises(RoomError) as refused:
        house.room().remove(bob.participant_id, ann.participant_id, house.now)
    assert refused.value.code == "forbidden"
    with pytest.raises(RoomError) as unknown:
        house.room().remove(ann.participant_id, "nobody", house.now)
    assert unknown.value.code == "unknown_participant"
    house.room().remove(ann.participant_id, bob.participant_id, house.now)
    assert house.mail(bob.participant_id, "bye") == [{"type": "bye", "reason": "removed"}]
    assert house.mail(ann.participant_id, "participant_left")[0]["reason"] == "removed"


def test_expelled_participants_get_the_reason(house: House) -> None:
    ann = house.join("ann")
    house.room().expel(ann.participant_id, "token_expired", house.now)
    assert house.mail(ann.participant_id, "bye") == [{"type": "bye", "reason": "token_expired"}]


def test_closing_says_bye_to_all_and_nothing_else(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob")
    house.clear()
    house.room().close("draining", house.now)
    assert house.inbox == {
        id: [{"type": "bye", "reason": "draining"}] for id in (ann.participant_id, bob.participant_id)
    }
    assert house.node.rooms == []
    assert house.worker.transports == {}


def test_connection_states_are_told_once_each(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob")
    house.clear()
    house.connect(0)
    house.event(EventKind.QUIET, house.transport(0))
    house.event(EventKind.CONSENT_LOST, house.transport(0))
    house.event(EventKind.HEARD, house.transport(0))
    house.room().signalling_lost(ann.participant_id, house.now)
    house.event(EventKind.HEARD, house.transport(0))
    house.room().signalling_regained(ann.participant_id, house.now)
    states = [m["participant"]["connection"] for m in house.mail(bob.participant_id, "participant_updated")]
    assert states == ["connected", "reconnecting", "connected", "reconnecting", "connected"]


def test_a_room_is_in_use_while_somebodys_media_path_is_alive(house: House) -> None:
    house.join("ann")
    house.join("bob")
    assert not house.room().in_use, "to be in is not enough"
    house.connect(0)
    assert house.room().in_use
    house.event(EventKind.CONSENT_LOST, house.transport(0))
    assert not house.room().in_use
    house.connect(1)
    assert house.room().in_use


def test_new_address_ends_reconnecting(house: House) -> None:
    house.join("ann")
    bob = house.join("bob")
    house.connect(0)
    house.event(EventKind.QUIET, house.transport(0))
    house.clear()
    house.event(EventKind.SELECTED, house.transport(0), "198.51.100.7", 1234)
    (told,) = house.mail(bob.participant_id, "participant_updated")
    assert told["participant"]["connection"] == "connected"


def test_preferred_people_get_the_video_slots(house: House) -> None:
    offer = load("firefox_max_compat.sdp")  # one audio and one video slot
    viewer = house.join("viewer", offer=offer)
    others = [house.join(name) for name in ("ann", "bob", "cid")]
    house.clear()
    house.room().prefer(viewer.participant_id, ["unknown", others[2].participant_id], house.now)
    (slots,) = house.mail(viewer.participant_id, "slots")
    video = next(slot for slot in slots["slots"] if slot["kind"] == "video")
    assert video["participant"] == others[2].participant_id


def test_resuming_client_can_ask_for_everything_anew(house: House) -> None:
    ann, bob = house.join("ann"), house.join("bob")
    assert [person.id for person in house.room().participants_for(ann.participant_id)] == [bob.participant_id]
    assert house.room().slots_for(bob.participant_id) == bob.slots
    with pytest.raises(RoomError) as unknown:
        house.room().slots_for("nobody")
    assert unknown.value.code == "unknown_participant"


def test_policy_of_a_room_decides_the_first_codec() -> None:
    house = House(policy=Policy(codec_preference=("h264", "vp8")))
    joined = house.join("ann", offer=load("chromium_publisher_and_slots.sdp"))
    assert re.search(r"m=video 5000 UDP/TLS/RTP/SAVPF 108 ", joined.answer_sdp)


# --- renegotiation
# ------------------------------------------------------------------------------------------------------

TRACKS = {
    1: [DeclaredTrack("0", Source.MICROPHONE), DeclaredTrack("1", Source.CAMERA)],
    2: [DeclaredTrack("6", Source.SCREEN)],
    6: [DeclaredTrack("8", Source.SCREEN)],
    7: [DeclaredTrack("9", Source.CAMERA, muted=True)],
}


def renegotiate(house: House, id: str, browser: str, steps: range) -> None:
    """Offers number `steps` (from 1) of the recorded connection."""
    for step in steps:
        house.room().offer(id, session(browser)[step - 1], TRACKS.get(step, []), house.now)


@pytest.fixture(params=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sources_told(house: House, id: str) -> list[list[str]]:
    return [
        [track["source"] for track in message["participant"]["tracks"]]
        for message in house.mail(id, "participant_updated")
    ]


def test_screen_share_is_one_more_offer(house: House, browser: str) -> None:
    bob = house.join("bob")
    ann = house.join("ann", offer=session(browser)[0], tracks=TRACKS[1])
    house.clear()
    legs = len(house.worker.named("add_leg"))
    renegotiate(house, ann.participant_id, browser, range(2, 3))
    assert sources_told(house, bob.participant_id) == [["microphone", "camera", "screen"]]
    (slots,) = house.mail(bob.participant_id, "slots")
    assert [slot["source"] for slot in slots["slots"] if slot["track"]] == ["microphone", "camera", "screen"]
    assert len(house.worker.named("add_leg")) == legs + 1
    assert house.worker.named("remove_leg") == house.worker.named("remove_track") == []


def test_whole_recorded_connection_passes_through_a_room(house: House, browser: str) -> None:
    bob = house.join("bob")
    ann = house.join("ann", offer=session(browser)[0], tracks=TRACKS[1])
    house.clear()
    renegotiate(house, ann.participant_id, browser, range(2, 9))
    assert sources_told(house, bob.participant_id) == [
        ["microphone", "camera", "screen"],
        ["microphone", "screen"],
        ["microphone", "screen", "camera"],
        ["microphone", "camera"],
        ["microphone", "camera", "screen"],
        ["microphone", "screen", "camera"],
    ]
    mids = {config["mid"] for config in house.worker.tracks.values() if config["transport"] == house.transport(1)}
    assert mids == {"0", "8", "9"}
    assert len(house.worker.named("restart_ice")) == 1


def test_resting_line_keeps_its_track_in_the_worker_for_the_rollover_counter(house: House, browser: str) -> None:
    """Trap: an inactive line that comes back goes on with SSRC and counter; a worker that had forgotten it could not
    decrypt."""
    bob = house.join("bob")
    ann = house.join("ann", offer=session(browser)[0], tracks=TRACKS[1])
    camera = house.track_of(1, "1")
    house.event(EventKind.TRACK_STARTED, camera)
    renegotiate(house, ann.participant_id, browser, range(2, 4))
    assert camera in house.worker.tracks
    assert camera not in house.worker.sources.values()
    renegotiate(house, ann.participant_id, browser, range(4, 5))
    assert house.track_of(1, "1") == camera
    assert camera in house.worker.sources.values()
    assert bob.participant_id


def test_unpublish_and_republish_inside_one_negotiation(house: House, browser: str) -> None:
    bob = house.join("bob")
    ann = house.join("ann", offer=session(browser)[0], tracks=TRACKS[1])
    renegotiate(house, ann.participant_id, browser, range(2, 7))
    before = house.track_of(1, "1")
    house.clear()
    renegotiate(house, ann.participant_id, browser, range(7, 8))
    assert before not in house.worker.tracks
    assert len(house.mail(bob.participant_id, "participant_updated")) == 1
    tracks = house.mail(bob.participant_id, "participant_updated")[0]["participant"]["tracks"]
    assert [(track["source"], track["muted"]) for track in tracks] == [
        ("microphone", False),
        ("screen", False),
        ("camera", True),
    ]
    fed = {house.worker.tracks[track]["mid"] for track in house.worker.sources.values()}
    assert "9" in fed


def test_same_mid_with_another_ssrc_feeds_the_same_slots_anew(house: House) -> None:
    bob = house.join("bob")
    offer = session("chromium")[0]
    ann = house.join("ann", offer=offer, tracks=TRACKS[1])
    before, slots = house.track_of(1, "1"), house.room().slots_for(bob.participant_id)
    ssrc = house.worker.tracks[before]["ssrc"]
    house.clear()
    house.room().offer(ann.participant_id, offer.replace(str(ssrc), str(ssrc ^ 1)), [], house.now)
    after = house.track_of(1, "1")
    assert after != before
    assert after in house.worker.sources.values()
    assert house.room().slots_for(bob.participant_id) == slots, "the publication is the same"
    assert house.inbox == {}


def test_source_of_a_line_may_change(house: House) -> None:
    bob = house.join("bob")
    ann = house.join("ann")
    house.clear()
    house.room().offer(ann.participant_id, OFFER, [DeclaredTrack("1", Source.SCREEN)], house.now)
    assert sources_told(house, bob.participant_id) == [["microphone", "screen"]]


def test_refused_renegotiation_changes_nothing(house: House) -> None:
    rights = ALL_RIGHTS - {Right.SHARE_SCREEN}
    bob = house.join("bob")
    ann = house.join("ann", offer=session("chromium")[0], tracks=TRACKS[1], rights=rights)
    house.clear()
    commands = list(house.worker.commands)
    for sdp, tracks, code in (
        (session("chromium")[1], TRACKS[2], "forbidden"),
        (session("chromium")[1], [DeclaredTrack("7", Source.SCREEN)], "unknown_mid"),
        (session("firefox")[0], [], "bad_sdp"),
        ("", [], "bad_sdp"),
    ):
        with pytest.raises(RoomError) as refused:
            house.room().offer(ann.participant_id, sdp, tracks, house.now)
        assert refused.value.code == code
    assert house.worker.commands == commands
    assert house.inbox == {}
    house.room().offer(ann.participant_id, session("chromium")[1], [DeclaredTrack("6", Source.CAMERA)], house.now)
    assert bob.participant_id


def test_renegotiation_of_a_stranger_is_refused(house: House) -> None:
    house.join("ann")
    with pytest.raises(RoomError) as refused:
        house.room().offer("nobody", OFFER, MICROPHONE_AND_CAMERA, house.now)
    assert refused.value.code == "unknown_participant"
