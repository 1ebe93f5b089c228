"""The parser: what it reads from real offers, and what it refuses."""

import pytest

from rtc import sdp
from rtc.sdp import Direction, Fingerprint, SdpError, parse
from tests.rtc.offers import NAMES, load

SMALL = load("chromium_audio_only.sdp")


@pytest.mark.parametrize("name", NAMES)
def test_offers_of_all_browsers_parse(name: str) -> None:
    offer = parse(load(name))
    assert offer.bundle
    live = [media for media in offer.media if not media.rejected]
    assert all(media.mid in offer.bundle for media in live)
    assert all(media.ufrag and media.password and media.fingerprints for media in live)


@pytest.mark.parametrize("name", NAMES)
def test_each_m_line_means_what_it_says_itself_whatever_stands_before_it(name: str) -> None:
    text = load(name)
    head, *sections = text.replace("\r\n", "\n").replace("a=group:", "a=x-group:").split("\nm=")
    whole = parse(text)
    assert whole.media == tuple(parse(f"{head}\nm={section}\n").media[0] for section in sections)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("VP8/90000", "VP9/90000"),
        ("max-fr=", "max-fs="),
        ("goog-remb", "transport-cc"),
        ("a=extmap:4 ", "a=extmap:14 "),
    ],
)
def test_two_m_lines_of_a_kind_may_differ_in_one_line(old: str, new: str) -> None:
    line = (
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na=rtpmap:96 VP8/90000\r\na=fmtp:96 max-fr=30\r\n"
        "a=rtcp-fb:96 goog-remb\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    )
    head = SMALL.split("m=")[0].replace("a=group:", "a=x-group:")
    first, second, third = line.format(mid=0), line.format(mid=1).replace(old, new), line.format(mid=2)
    assert second.replace("mid:1", "mid:0") != first
    media = parse(head + first + second + third).media
    assert media == tuple(parse(head + each).media[0] for each in (first, second, third))
    assert (media[0].payload_types, media[0].extensions) != (media[1].payload_types, media[1].extensions)


def test_chromium_video_line_is_read_in_full() -> None:
    media = parse(load("chromium_publisher_and_slots.sdp")).media[1]
    assert (media.kind, media.mid, media.direction) == ("video", "1", Direction.SENDONLY)
    vp8, rtx = media.payload_types[:2]
    assert (vp8.number, vp8.name, vp8.clock_rate) == (96, "vp8", 90_000)
    assert vp8.feedback == {"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"}
    assert (rtx.name, rtx.parameter("apt")) == ("rtx", "96")
    h264 = media.payload_types[2]
    assert h264.parameter("profile-level-id") == "42001f"
    assert h264.parameter("packetization-mode") == "1"
    assert media.ssrcs == (815054940, 3771799561)
    assert media.ssrc_groups == (("FID", (815054940, 3771799561)),)
    assert media.rtcp_mux
    assert media.rtcp_rsize
    assert media.extmap_allow_mixed


def test_firefox_fingerprint_of_the_session_level_is_handed_down() -> None:
    offer = parse(load("firefox_publisher_and_slots.sdp"))
    digest = bytes.fromhex("499be3c9669d0a55662d61f22ccf8742119f11eb98a93e369273c9d3e720a776")
    assert all(media.fingerprints == (Fingerprint("sha-256", digest),) for media in offer.media)


def test_firefox_port_zero_with_bundle_only_is_not_a_rejection() -> None:
    offer = parse(load("firefox_publisher_and_slots.sdp"))
    assert offer.media[1].port == 0
    assert offer.media[1].bundle_only
    assert not offer.media[1].rejected


def test_stopped_line_is_a_rejection() -> None:
    offer = parse(load("chromium_session/5_screen_stopped.sdp"))
    assert [media.rejected for media in offer.media].count(True) == 1


def test_extension_direction_of_firefox_is_read() -> None:
    media = parse(load("firefox_publisher_and_slots.sdp")).media[1]
    delay = next(extmap for extmap in media.extensions if extmap.uri.endswith("playout-delay"))
    assert delay.direction is Direction.RECVONLY


def test_bare_line_feeds_are_read_as_line_ends() -> None:
    assert parse(SMALL.replace("\r\n", "\n")) == parse(SMALL)


def test_repeated_equal_attributes_are_no_contradiction() -> None:
    doubled = SMALL.replace("a=ice-ufrag", "a=mid:0\r\na=ice-ufrag", 1)
    assert parse(doubled).media[0].mid == "0"


def with_line(line: str) -> str:
    """The small offer with one more line in its first m-line."""
    return SMALL.replace("a=rtcp-mux\r\n", f"a=rtcp-mux\r\n{line}\r\n", 1)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "v=0"),
        ("v=1\r\n", "v=0"),
        ("hello", "letter=value"),
        (SMALL.replace("v=0\r\n", "v=0\r\nv=0\r\n"), "only at the beginning"),
        (SMALL.replace("s=-", "s"), "letter=value"),
        (SMALL + "q=x\r\n", "letter=value"),
        (SMALL + "a=x\0y\r\n", "control character"),
        (SMALL.replace("o=- ", "o=-- - "), "o="),
        (with_line("a=mid:9"), "a=mid twice"),
        (with_line("a=sendrecv"), "two directions"),
        (with_line("a=extmap:x urn:y"), "malformed extmap"),
        (with_line("a=extmap:1 urn:y"), "extension id 1 twice"),
        (with_line("a=rtpmap:111 vp8/90000"), "two different rtpmap"),
        (with_line("a=rtpmap:111"), "malformed rtpmap"),
        (with_line("a=fmtp:999 x=y"), "payload type"),
        (with_line("a=rtcp-fb:x nack"), "payload type"),
        (with_line("a=ssrc:4294967296 cname:x"), "SSRC"),
        (with_line("a=ssrc:0 cname:x"), "SSRC 0"),
        (with_line("a=ssrc:٣ cname:x"), "SSRC"),
        (with_line("a=ssrc-group:FID 1 -2"), "SSRC"),
        (with_line("a=fingerprint:sha-256 00:11"), "sha-256 fingerprint of 2 bytes"),
        (with_line("a=fingerprint:sha-256 zz"), "hexadecimal"),
        (SMALL.replace("a=mid:0", "a=mid:" + 17 * "x"), "mid"),
        (SMALL.replace("a=mid:0", "a=mid:a b"), "mid"),
        (SMALL.replace("a=mid:0\r\n", ""), "no mid"),
        (SMALL.replace("a=mid:1", "a=mid:0"), "same mid"),
        (SMALL.replace("BUNDLE 0", "BUNDLE 0 0"), "twice"),
        (SMALL.replace("BUNDLE 0", "BUNDLE 77"), "no m-line has"),
        (SMALL.replace("ice-ufrag:", "ice-ufrag:!"), "ice-ufrag"),
        (SMALL.replace("ice-pwd:", "ice-pwd:short\r\na=x:"), "ice-pwd"),
        (SMALL.replace("m=audio ", "m=audio 99999"), "port"),
        (SMALL.replace(" 111 63", " 111 111"), "payload type twice"),
        (SMALL.replace(" 111 63", " 111 128"), "payload type"),
        (SMALL.replace(" 111 63", " 111  63"), "kind, port, protocol"),
    ],
)
def test_malformed_descriptions_are_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint):
        parse(text)


@pytest.mark.parametrize(
    "text, complaint",
    [
        (SMALL + "a=" + "x" * sdp.MAX_BYTES, "larger than"),
        (SMALL + "é" * (sdp.MAX_BYTES // 2), "larger than"),
        (SMALL + "a=\r\n" * sdp.MAX_LINES, "lines"),
        (SMALL + "a=" + "x" * sdp.MAX_LINE_LENGTH + "\r\n", "longer than"),
        (SMALL + "a=x\r\n" * (sdp.MAX_ATTRIBUTES + 1), "attributes"),
        (SMALL + "".join(f"a=rtcp-fb:* x{i}\r\n" for i in range(sdp.MAX_FEEDBACK + 1)), "kinds of rtcp-fb"),
        (SMALL + f"a=fingerprint:x {':'.join(['AA'] * 32)}\r\n" * (sdp.MAX_FINGERPRINTS + 1), "fingerprints"),
        (
            SMALL + "".join(f"m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:x{i}\r\n" for i in range(sdp.MAX_MEDIA)),
            "m-lines",
        ),
    ],
)
def test_limits_hold(text: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint):
        parse(text)


def test_feedback_for_all_payload_types_is_added_to_that_for_one() -> None:
    text = SMALL + "a=rtcp-fb:* nack\r\na=rtcp-fb:8 ccm  fir\r\na=rtcp-fb:* nack pli\r\na=rtcp-fb:77 nack\r\n"
    feedback = {item.number: item.feedback for item in parse(text).media[-1].payload_types}
    assert feedback[0] == {"nack", "nack pli"}
    assert feedback[8] == {"nack", "nack pli", "ccm fir"}
    assert feedback[111] > {"nack", "nack pli"}
    assert 77 not in feedback


def test_thirty_chromium_video_lines_fit() -> None:
    text = load("chromium_publisher_and_slots.sdp")
    last = "m=" + text.split("\r\nm=")[-1]
    more = "".join(last.replace("a=mid:12", f"a=mid:{13 + index}") for index in range(20))
    assert len(parse(text + more).media) == 33
