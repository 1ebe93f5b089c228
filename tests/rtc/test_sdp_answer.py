"""Answers to first offers: roles, codecs, feedback, extensions, SSRCs, and what cannot be answered."""

import pytest

from rtc.sdp import NoCodecError, SdpError, parse
from rtc.sdp_answer import LineRole, Policy
from rtc.sdp_codecs import CODEC_NUMBERS
from tests.rtc.offers import NAMES, answer, line_of, load, section

CHROMIUM = load("chromium_publisher_and_slots.sdp")
FIREFOX = load("firefox_publisher_and_slots.sdp")
AIORTC = load("aiortc_publisher_and_slots.sdp")
FIRST_OFFERS = [name for name in NAMES if "session/" not in name or "/1_" in name]


@pytest.mark.parametrize("name", FIRST_OFFERS)
def test_every_browsers_offer_gets_an_answer_that_parses(name: str) -> None:
    offer = parse(load(name))
    negotiated = answer(load(name))
    reply = parse(negotiated.answer)
    assert [(media.kind, media.mid) for media in reply.media] == [(media.kind, media.mid) for media in offer.media]
    assert reply.ice_lite
    for offered, answered in zip(offer.media, reply.media):
        if answered.rejected:
            assert answered.mid not in reply.bundle
            continue
        assert answered.setup == "passive"
        assert answered.rtcp_mux
        offered_types = {payload.number: payload for payload in offered.payload_types}
        for payload in answered.payload_types:
            assert (payload.name, payload.clock_rate) == (
                offered_types[payload.number].name,
                offered_types[payload.number].clock_rate,
            )
            assert payload.feedback <= offered_types[payload.number].feedback
        offered_ids = {extmap.uri: extmap.id for extmap in offered.extensions}
        assert all(offered_ids[extmap.uri] == extmap.id for extmap in answered.extensions)


def test_chromium_publishes_and_gets_slots() -> None:
    negotiated = answer(CHROMIUM)
    assert [(line.kind, line.role) for line in negotiated.lines] == [
        ("audio", LineRole.PUBLISHING),
        ("video", LineRole.PUBLISHING),
        *[("audio", LineRole.SLOT)] * 3,
        *[("video", LineRole.SLOT)] * 8,
    ]
    camera = line_of(negotiated, "1")
    assert (camera.ssrc, camera.rtx_ssrc) == (815054940, 3771799561)
    assert camera.codecs[0] == {
        "codec": CODEC_NUMBERS["vp8"],
        "variant": 0,
        "payload_type": 96,
        "rtx_payload_type": 97,
        "nack": True,
        "pli": True,
        "clock_rate": 90_000,
    }
    assert camera.extensions == {"mid": 4, "transport_cc": 3, "abs_send_time": 2, "playout_delay": 5}
    assert line_of(negotiated, "0").extensions == {"mid": 4, "audio_level": 1, "transport_cc": 3, "abs_send_time": 2}
    assert line_of(negotiated, "5").extensions == {"mid": 4, "abs_send_time": 2, "playout_delay": 5}


def test_publishing_lines_ask_for_transport_feedback_and_slots_for_remb() -> None:
    reply = parse(answer(CHROMIUM).answer)
    assert reply.media[1].payload_types[0].feedback == {"transport-cc", "ccm fir", "nack", "nack pli"}
    assert reply.media[5].payload_types[0].feedback == {"goog-remb", "ccm fir", "nack", "nack pli"}
    assert reply.media[0].payload_types[0].feedback == {"transport-cc"}
    assert reply.media[2].payload_types[0].feedback == frozenset()


def test_transport_feedback_is_not_asked_of_who_does_not_offer_it() -> None:
    reply = parse(answer(AIORTC).answer)
    assert reply.media[1].payload_types[0].feedback == {"nack", "nack pli"}
    assert "transport_cc" not in answer(AIORTC).lines[1].extensions


def test_slots_have_their_ssrcs_announced_with_rtx_for_video_only() -> None:
    negotiated = answer(FIREFOX)
    reply = parse(negotiated.answer)
    for line, media in zip(negotiated.lines, reply.media):
        if line.role is not LineRole.SLOT:
            assert media.ssrcs == ()
        elif line.kind == "audio":
            assert media.ssrcs == (line.ssrc,)
            assert line.rtx_ssrc == 0
        else:
            assert media.ssrc_groups == (("FID", (line.ssrc, line.rtx_ssrc)),)
            assert media.msid == f"slot-{line.mid} slot-{line.mid}"
    ssrcs = [ssrc for line in negotiated.lines if line.role is LineRole.SLOT for ssrc in (line.ssrc, line.rtx_ssrc)]
    assert len(set(ssrcs) - {0}) == 3 + 2 * 8


def test_ssrc_lines_of_firefox_on_receiving_lines_mean_nothing() -> None:
    offer = parse(FIREFOX)
    assert offer.media[2].ssrcs
    assert line_of(answer(FIREFOX), "2").ssrc not in offer.media[2].ssrcs


def test_candidates_stand_on_every_line_and_are_complete() -> None:
    text = answer(AIORTC).answer
    for index in range(7):
        assert (
            section(text, index).count(
                "a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host network-id 1 network-cost 999\n"
            )
            == 1
        )
        assert "a=end-of-candidates" in section(text, index)


def test_fingerprint_is_written_in_upper_case_pairs() -> None:
    assert "a=fingerprint:sha-256 00:01:02:03:04" in answer(CHROMIUM).answer


def test_mixed_extension_form_is_echoed() -> None:
    assert answer(CHROMIUM).answer.split("m=")[0].count("a=extmap-allow-mixed") == 1
    assert "a=extmap-allow-mixed" not in answer(AIORTC).answer


def test_data_channel_is_rejected_where_it_stands() -> None:
    for browser in ("chromium", "firefox"):
        offer = parse(load(f"{browser}_data_channel.sdp"))
        reply = parse(answer(load(f"{browser}_data_channel.sdp")).answer)
        index = [media.kind for media in offer.media].index("application")
        assert reply.media[index].port == 0
        assert offer.media[index].mid not in reply.bundle
        assert reply.media[index].formats == offer.media[index].formats


def test_next_line_is_tagged_when_the_first_is_rejected() -> None:
    text = load("chromium_audio_only.sdp").replace("opus/48000/2", "nonsense/48000/2", 1)
    negotiated = answer(text)
    assert negotiated.lines[0].role is LineRole.REJECTED
    reply = parse(negotiated.answer)
    assert reply.bundle[0] == "1"
    assert [bool(media.candidates) for media in reply.media] == [False, True, True, True]


def test_offered_simulcast_is_answered_without_and_one_stream_expected() -> None:
    for browser in ("chromium", "firefox"):
        text = load(f"{browser}_simulcast.sdp")
        assert parse(text).media[0].simulcast
        negotiated = answer(text)
        assert negotiated.lines[0].role is LineRole.PUBLISHING
        assert "a=simulcast" not in negotiated.answer
        assert "a=rid" not in negotiated.answer
        assert not {"rid", "repaired_rid"} & set(negotiated.lines[0].extensions)


def test_simulcast_group_of_old_kind_gives_its_first_stream() -> None:
    text = CHROMIUM.replace(
        "a=ssrc-group:FID 815054940 3771799561",
        "a=ssrc-group:SIM 11 12 13\r\na=ssrc-group:FID 12 22\r\na=ssrc-group:FID 11 21\r\na=ssrc-group:FID 13 23",
    )
    camera = line_of(answer(text), "1")
    assert (camera.ssrc, camera.rtx_ssrc) == (11, 21)


def test_line_without_signalled_ssrc_is_left_to_the_mid_extension() -> None:
    text = "\r\n".join(line for line in CHROMIUM.split("\r\n") if not line.startswith("a=ssrc"))
    camera = line_of(answer(text), "1")
    assert (camera.ssrc, camera.rtx_ssrc) == (0, 0)
    assert camera.extensions.get("mid") == 4


def test_sendrecv_line_is_a_slot_unless_something_is_published_on_it() -> None:
    text = load("chromium_sendrecv_balanced_bundle.sdp")
    assert [line.role for line in answer(text).lines] == [LineRole.SLOT, LineRole.SLOT]
    assert [line.role for line in answer(text, publishing=["0"]).lines] == [LineRole.PUBLISHING, LineRole.SLOT]


def test_without_the_right_to_subscribe_slots_are_inactive() -> None:
    negotiated = answer(CHROMIUM, may_subscribe=False)
    assert {line.role for line in negotiated.lines[2:]} == {LineRole.INACTIVE}
    assert "a=sendonly" not in negotiated.answer


def test_inactive_line_stays_in_the_bundle_without_ssrc() -> None:
    negotiated = answer(CHROMIUM.replace("a=sendonly", "a=inactive", 1))
    assert negotiated.lines[0].role is LineRole.INACTIVE
    assert "0" in parse(negotiated.answer).bundle
    assert negotiated.lines[0].ssrc == 0


def test_policy_can_put_h264_first() -> None:
    negotiated = answer(CHROMIUM, policy=Policy(codec_preference=("h264", "vp8")))
    assert "m=video 5000 UDP/TLS/RTP/SAVPF 108 109 102 103" in negotiated.answer
    assert parse(negotiated.answer).media[1].payload_types[0].parameter("profile-level-id") == "42e01f"


def test_video_orientation_is_taken_only_by_policy() -> None:
    assert "video-orientation" not in answer(CHROMIUM).answer
    camera = line_of(answer(CHROMIUM, policy=Policy(orientation=True)), "1")
    assert camera.extensions.get("orientation") == 13


def test_extension_that_the_offerer_only_receives_is_taken_for_slots_only() -> None:
    negotiated = answer(FIREFOX)
    assert "playout_delay" not in line_of(negotiated, "1").extensions
    assert line_of(negotiated, "5").extensions.get("playout_delay") == 6
    assert "a=extmap:6/sendonly http://www.webrtc.org" in section(negotiated.answer, 5)


def test_extension_ids_beyond_the_one_byte_form_are_not_taken() -> None:
    text = CHROMIUM.replace("a=extmap:3 ", "a=extmap:15 ")
    assert "transport_cc" not in line_of(answer(text), "1").extensions


def test_opus_asks_for_forward_error_correction_and_honours_dtx() -> None:
    assert "a=fmtp:111 minptime=10;useinbandfec=1\n" in section(answer(CHROMIUM).answer, 0)
    text = CHROMIUM.replace("useinbandfec=1", "useinbandfec=1;usedtx=1")
    assert "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\n" in section(answer(text).answer, 0)


def test_firefox_being_able_to_play_stereo_does_not_make_microphones_stereo() -> None:
    assert "stereo" not in answer(FIREFOX).answer


def test_stereo_is_asked_of_who_says_that_it_will_send_it() -> None:
    text = CHROMIUM.replace("useinbandfec=1", "useinbandfec=1;sprop-stereo=1", 1)
    assert ";stereo=1" in section(answer(text).answer, 0)


def without(text: str, start: str) -> str:
    return "".join(line + "\r\n" for line in text.split("\r\n") if line and not line.startswith(start))


@pytest.mark.parametrize(
    "text, complaint",
    [
        (without(CHROMIUM, "a=group"), "BUNDLE"),
        (without(CHROMIUM, "a=rtcp-mux"), "rtcp-mux"),
        (without(CHROMIUM, "a=setup"), "setup"),
        (CHROMIUM.replace("a=setup:actpass", "a=setup:passive"), "setup"),
        (CHROMIUM.replace("a=setup:actpass", "a=setup:holdconn"), "setup"),
        (without(CHROMIUM, "a=ice-ufrag"), "ice-ufrag"),
        (without(CHROMIUM, "a=ice-pwd"), "ice-pwd"),
        (without(CHROMIUM, "a=fingerprint"), "fingerprint"),
        (CHROMIUM.replace("FID 815054940 3771799561", "FID 815054940 815054940"), "two streams"),
        (CHROMIUM.replace("815054940", "112833615"), "two streams"),
        ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE\r\n", "BUNDLE"),
    ],
)
def test_offers_that_cannot_be_served_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint):
        answer(text)


def test_offer_of_a_data_channel_alone_is_refused() -> None:
    text = load("chromium_data_channel.sdp")
    head, *sections = text.split("\r\nm=")
    data = next(part for part in sections if part.startswith("application"))
    mid = data.split("a=mid:")[1][0]
    only = head.replace("BUNDLE 0 1 2 3", f"BUNDLE {mid}") + "\r\nm=" + data
    with pytest.raises(SdpError, match="no audio or video"):
        answer(only)


def test_declared_track_without_a_codec_of_ours_is_an_error() -> None:
    text = load("chromium_audio_only.sdp").replace("opus/48000/2", "nonsense/48000/2", 1)
    with pytest.raises(NoCodecError, match="'0' offers no audio codec"):
        answer(text, publishing=["0"])


def test_no_codec_at_all_is_an_error() -> None:
    with pytest.raises(NoCodecError):
        answer(load("chromium_audio_only.sdp").replace("opus/48000/2", "nonsense/48000/2"))


def test_line_outside_the_bundle_is_rejected() -> None:
    text = load("chromium_audio_only.sdp").replace("BUNDLE 0 1 2 3", "BUNDLE 0 1 2")
    assert [line.role for line in answer(text).lines][-1] is LineRole.REJECTED


def test_active_setup_is_answered_passive() -> None:
    assert "a=setup:passive" in answer(CHROMIUM.replace("actpass", "active")).answer
