"""The bare peer against a server that knows no code of ours but DTLS and SRTP: its ICE speaks aioice."""

import random
from itertools import pairwise
from typing import Any

import pytest
from aioice import stun

from rtc._dtls import Dtls
from rtc._wire import Srtp, rtcp_nack, rtcp_parse, rtcp_pli, rtp_parse
from rtc.ice import IceCredentials, host_candidates
from rtc.peer import AUDIO_LEVEL, MID, TRANSPORT_CC, Peer, PeerOptions
from rtc.peer_streams import MEMORY, WINDOW, ReceivedPacket, ReceiveStream, rtp_packet
from rtc.sdp import parse
from rtc.sdp_answer import LocalSide, Negotiated, negotiate
from rtc.sdp_types import Direction, SdpError
from tests.rtc.dtls_world import ALICE, BOB, EVE

SERVER = ("198.51.100.1", 3478)
ELSEWHERE = ("198.51.100.2", 3478)
SLOT_PAYLOAD = 96


def authentic(data: bytes, password: bytes) -> stun.Message:
    """The message; ValueError when its integrity is not right."""
    message = stun.parse_message(data)
    if not message.check_message_integrity(password):
        raise ValueError("MESSAGE-INTEGRITY is not right")
    return message


class Server:
    """An ICE-lite, DTLS-passive end. `hears` is False while the path to it is cut."""

    def __init__(self, rng: random.Random, *, identity: Any = None) -> None:
        self._rng = rng
        self.local = LocalSide(1, BOB.identity().fingerprint, host_candidates([SERVER]), "test")
        self.negotiated: Negotiated | None = None
        self.dtls = Dtls(identity or BOB.identity(), server=True, fingerprints=ALICE.fingerprints())
        self.hears = True
        self.checks: list[tuple[float, stun.Message]] = []
        self.rtp: list[dict[str, Any]] = []
        self.rtcp: list[dict[str, Any]] = []
        self._in: Srtp | None = None
        self._out: Srtp | None = None

    def answer(self, offer: str) -> str:
        self.negotiated = negotiate(
            parse(offer),
            self.local,
            new_credentials=lambda: IceCredentials(self._text(8), self._text(24)),
            new_ssrc=lambda: self._rng.getrandbits(32),
            previous=self.negotiated,
        )
        return self.negotiated.answer

    def _text(self, length: int) -> str:
        return "".join(self._rng.choices("abcdefgh", k=length))

    @property
    def password(self) -> bytes:
        assert self.negotiated is not None
        return self.negotiated.local.password.encode()

    def receive(self, data: bytes, now: float) -> list[bytes]:
        """What it answers."""
        if not self.hears:
            return []
        if data[0] < 4:
            return [self.answer_check(data, now)]
        if data[0] < 64:
            self.dtls.receive(data, now)
            keys = self.dtls.keys
            if keys and self._in is None:
                self._in = Srtp(keys.profile, keys.remote_key, keys.remote_salt)
                self._out = Srtp(keys.profile, keys.local_key, keys.local_salt)
            return self.dtls.datagrams_to_send()
        assert self._in is not None
        if 192 <= data[1] <= 223:
            self.rtcp += rtcp_parse(self._in.unprotect_rtcp(data))
        else:
            self.rtp.append(rtp_parse(self._in.unprotect(data)))
        return []

    def answer_check(
        self, data: bytes, now: float, *, password: bytes | None = None, transaction: bytes | None = None
    ) -> bytes:
        request = authentic(data, self.password)
        assert self.negotiated is not None
        ours, theirs = request.attributes["USERNAME"].split(":")
        assert (ours, theirs) == (self.negotiated.local.ufrag, self.negotiated.remote.ufrag)
        self.checks.append((now, request))
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction or request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.1", 40_000)
        response.add_message_integrity(password or self.password)
        return bytes(response)

    def media(self, packet: bytes) -> bytes:
        assert self._out is not None
        return self._out.protect(packet)

    def control(self, packet: bytes) -> bytes:
        assert self._out is not None
        return self._out.protect_rtcp(packet)


class Pair:
    """A peer and a server without any delay between them."""

    def __init__(self, rng: random.Random, server: Server | None = None) -> None:
        self.now = 1000.0
        self.peer = Peer(ALICE.identity(), rng)
        self.server = server or Server(rng)
        self.packets: list[ReceivedPacket] = []
        self.peer.on_packet = self.packets.append
        self.answer = self.server.answer(self.peer.offer())
        self.peer.accept(self.answer, self.now)

    def exchange(self) -> None:
        """Everything that is said without time passing."""
        while outgoing := self.peer.datagrams_to_send(self.now):
            for data, address in outgoing:
                assert address == SERVER
                for answer in self.server.receive(data, self.now):
                    self.peer.receive(answer, SERVER, self.now)

    def step(self, until: float) -> bool:
        self.exchange()
        due = self.peer.timer()
        if due is None or due > until:
            self.now = max(self.now, until)
            return False
        self.now = max(self.now, due)
        self.peer.handle_timer(self.now)
        self.exchange()
        return True

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.step(until):
            pass

    def connect(self) -> "Pair":
        while not self.peer.connected:
            assert self.step(self.now + 5)
        return self

    def give(self, data: bytes) -> None:
        self.peer.receive(data, SERVER, self.now)
        self.exchange()

    @property
    def video_slot(self) -> ReceiveStream:
        return next(stream for stream in self.peer.slots.values() if stream.rtx_ssrc)

    def slot_packet(self, number: int, *, rtx: bool = False) -> bytes:
        slot = self.video_slot
        if rtx:
            return self.server.media(rtp_packet(97, number, 90, slot.rtx_ssrc, number.to_bytes(2, "big") + b"video"))
        return self.server.media(rtp_packet(SLOT_PAYLOAD, number, 90, slot.ssrc, b"video"))


@pytest.fixture
def pair(rng: random.Random) -> Pair:
    return Pair(rng)


# --- session description ---


def test_offer_has_a_line_per_sender_and_slot(rng: random.Random) -> None:
    peer = Peer(ALICE.identity(), rng, PeerOptions(audio_slots=3, video_slots=2))
    offer = parse(peer.offer())
    kinds = [(line.kind, line.direction) for line in offer.media]
    sends, receives = Direction.SENDONLY, Direction.RECVONLY
    assert kinds == [("audio", sends), ("video", sends)] + [("audio", receives)] * 3 + [("video", receives)] * 2
    assert offer.bundle == tuple(line.mid for line in offer.media)
    video = peer.senders["video"]
    assert offer.media[1].ssrc_groups == (("FID", (video.ssrc, video.rtx_ssrc)),)
    assert {line.setup for line in offer.media} == {"actpass"}
    assert all(item.digest == ALICE.digest() for line in offer.media for item in line.fingerprints)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_sent_video_has_one_codec_and_slots_have_all(rng: random.Random, codec: str) -> None:
    offer = parse(Peer(ALICE.identity(), rng, PeerOptions(codec=codec)).offer())
    names = [[payload.name for payload in line.payload_types] for line in offer.media if line.kind == "video"]
    assert names == [[codec.lower(), "rtx"], ["vp8", "rtx", "h264", "rtx"], ["vp8", "rtx", "h264", "rtx"]]


def test_line_of_a_stopped_sender_is_used_again(pair: Pair) -> None:
    pair.peer.line("video").stopped = True
    assert parse(pair.peer.offer()).media[1].rejected
    pair.peer.add_sender("screen", "video")
    offer = parse(pair.peer.offer())
    assert not offer.media[1].rejected
    assert offer.media[1].mid != "1"
    assert pair.peer.mids == {"audio": "0", "screen": offer.media[1].mid}


def test_what_is_no_description_is_refused(rng: random.Random) -> None:
    peer = Peer(ALICE.identity(), rng)
    with pytest.raises(SdpError):
        peer.accept("v=0\r\nnonsense\r\n", 1000)


def test_accepting_the_same_answer_again_changes_nothing(pair: Pair) -> None:
    pair.connect()
    slots, nominated = dict(pair.peer.slots), pair.peer.nominated_at
    pair.peer.accept(pair.answer, pair.now)
    assert (pair.peer.slots, pair.peer.nominated_at) == (slots, nominated)


# --- connectivity ---


def test_check_nominates_and_then_the_handshake_begins(pair: Pair) -> None:
    assert pair.peer.timer() == pair.now
    pair.peer.handle_timer(pair.now)
    ((check, _),) = pair.peer.datagrams_to_send(pair.now)
    request = authentic(check, pair.server.password)
    assert {"USE-CANDIDATE", "ICE-CONTROLLING", "PRIORITY"} <= set(request.attributes)
    pair.give(pair.server.answer_check(check, pair.now))
    assert pair.peer.nominated_at == pair.now
    assert pair.peer.connected
    assert pair.server.dtls.state == "connected"


def test_checks_are_repeated_until_one_is_answered(pair: Pair) -> None:
    sent: list[float] = []
    pair.server.hears = False
    for _ in range(8):
        pair.now = pair.peer.timer() or 0
        pair.peer.handle_timer(pair.now)
        sent += [pair.now for _ in pair.peer.datagrams_to_send(pair.now)]
    spans = [round(b - a, 3) for a, b in pairwise(sent)]
    assert spans == [0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5]
    pair.server.hears = True
    pair.run(1)
    assert pair.peer.connected


def test_answer_of_somebody_else_nominates_nothing(pair: Pair) -> None:
    pair.peer.handle_timer(pair.now)
    ((check, _),) = pair.peer.datagrams_to_send(pair.now)
    good = pair.server.answer_check(check, pair.now)
    for forged in (
        pair.server.answer_check(check, pair.now, password=b"a password that is not right"),
        pair.server.answer_check(check, pair.now, transaction=bytes(12)),
    ):
        pair.peer.receive(forged, SERVER, pair.now)
    pair.peer.receive(good, ELSEWHERE, pair.now)
    assert pair.peer.nominated_at is None
    pair.peer.receive(good, SERVER, pair.now)
    assert pair.peer.nominated_at == pair.now


def test_consent_is_kept_alive(pair: Pair) -> None:
    pair.connect().run(30)
    times = [at for at, _ in pair.server.checks]
    assert len(times) == 13
    assert {round(b - a, 3) for a, b in pairwise(times)} == {2.5}


def test_lost_consent_answer_is_asked_for_again_soon(pair: Pair) -> None:
    pair.connect().run(2)
    pair.server.hears = False
    pair.run(3)
    pair.server.hears = True
    before = len(pair.server.checks)
    pair.run(0.5)
    assert len(pair.server.checks) > before


def test_restart_draws_new_credentials_and_keeps_the_keys(pair: Pair) -> None:
    pair.connect()
    keys, ufrag = pair.peer.srtp_keys, pair.peer.ufrag
    answer = pair.server.answer(pair.peer.offer(restart=True))
    assert pair.peer.ufrag != ufrag
    pair.peer.accept(answer, pair.now)
    assert pair.peer.nominated_at is None
    pair.run(0.1)
    assert pair.peer.nominated_at is not None
    assert pair.peer.srtp_keys == keys
    pair.peer.send("audio", b"sound", 960)
    pair.exchange()
    assert pair.server.rtp[-1]["payload"] == b"sound"


def test_server_with_another_certificate_gets_nothing(rng: random.Random) -> None:
    pair = Pair(rng, server=Server(rng, identity=EVE.identity()))
    pair.run(1)
    assert not pair.peer.connected
    assert pair.peer.failure == "the certificate does not match the signalled fingerprint"
    pair.peer.send("audio", b"secret", 960)
    assert not any(data[0] >= 128 for data, _ in pair.peer.datagrams_to_send(pair.now))


# --- media ---


def test_packets_carry_what_the_answer_agreed_to(pair: Pair) -> None:
    pair.connect()
    for number in range(2):
        pair.peer.send("audio", b"sound", 960 * number, level=0x80 | 30)
        pair.peer.send("video", b"picture", 3600 * number, marker=True)
    pair.exchange()
    audio, video = pair.server.rtp[::2], pair.server.rtp[1::2]
    assert [packet["extensions"][MID] for packet in (audio[0], video[0])] == [b"0", b"1"]
    assert audio[0]["extensions"][AUDIO_LEVEL] == bytes([0x80 | 30])
    assert AUDIO_LEVEL not in video[0]["extensions"]
    numbers = [int.from_bytes(packet["extensions"][TRANSPORT_CC], "big") for packet in pair.server.rtp]
    assert numbers == [1, 2, 3, 4]  # one series for the whole transport
    assert [packet["sequence"] for packet in audio] == [0, 1]
    assert (audio[0]["marker"], video[0]["marker"]) == (False, True)


def test_extensions_that_were_not_agreed_to_are_not_sent(rng: random.Random) -> None:
    pair = Pair(rng)
    unwanted = [line for line in pair.answer.split("\r\n") if "audio-level" in line or "transport-wide" in line]
    assert unwanted
    pair.peer.accept("\r\n".join(line for line in pair.answer.split("\r\n") if line not in unwanted), pair.now)
    pair.connect()
    pair.peer.send("audio", b"sound", 960, level=30)
    pair.exchange()
    assert set(pair.server.rtp[0]["extensions"]) == {MID}


def test_nack_is_answered_on_the_rtx_stream(pair: Pair) -> None:
    pair.connect()
    video = pair.peer.senders["video"]
    for number in range(5):
        pair.peer.send("video", b"picture %d" % number, number)
    pair.exchange()
    pair.give(pair.server.control(rtcp_nack(1, video.ssrc, [1, 3])))
    repeated = pair.server.rtp[5:]
    assert {packet["ssrc"] for packet in repeated} == {video.rtx_ssrc}
    assert [packet["payload"] for packet in repeated] == [b"\0\1picture 1", b"\0\3picture 3"]
    assert [packet["timestamp"] for packet in repeated] == [1, 3]


def test_nack_for_what_is_forgotten_or_was_never_sent_is_ignored(pair: Pair) -> None:
    pair.connect()
    for number in range(MEMORY + 1):
        pair.peer.send("video", b"picture", number)
    pair.exchange()
    pair.give(pair.server.control(rtcp_nack(1, pair.peer.senders["video"].ssrc, [0, 5000])))
    pair.give(pair.server.control(rtcp_nack(1, 12345, [1])))
    assert len(pair.server.rtp) == MEMORY + 1


def test_gap_is_asked_for_and_filled_once(pair: Pair) -> None:
    pair.connect()
    for number in (10, 11, 14):
        pair.give(pair.slot_packet(number))
    pair.run(0.01)
    nacks = [block for block in pair.server.rtcp if (block["type"], block["count"]) == (205, 1)]
    assert [(block["media"], block["lost"]) for block in nacks] == [(pair.video_slot.ssrc, [12, 13])]
    pair.give(pair.slot_packet(12))  # it was late, not lost
    for number in (12, 13):
        pair.give(pair.slot_packet(number, rtx=True))
    assert [(packet.sequence, packet.repaired) for packet in pair.packets] == [
        (10, False),
        (11, False),
        (14, False),
        (12, False),
        (13, True),
    ]
    pair.run(1)
    assert len([block for block in pair.server.rtcp if (block["type"], block["count"]) == (205, 1)]) == 1


def test_more_is_asked_for_than_fits_into_one_nack(pair: Pair) -> None:
    pair.connect()
    for number in (10, 11, 612):
        pair.give(pair.slot_packet(number))
    pair.run(0.01)
    asked = [block["lost"] for block in pair.server.rtcp if (block["type"], block["count"]) == (205, 1)]
    assert [number for numbers in asked for number in numbers] == list(range(12, 612))


def test_what_never_comes_is_given_up(pair: Pair) -> None:
    pair.connect()
    for number in (10, 12):
        pair.give(pair.slot_packet(number))
    pair.run(5)
    assert len([block for block in pair.server.rtcp if (block["type"], block["count"]) == (205, 1)]) == 10
    assert not pair.video_slot.missing


def test_keyframe_requests_are_counted(pair: Pair) -> None:
    pair.connect()
    pair.give(pair.server.control(rtcp_pli(1, pair.peer.senders["video"].ssrc)))
    assert pair.peer.keyframes_wanted == 1
    pair.peer.ask_keyframe(pair.video_slot.ssrc)
    pair.exchange()
    assert (pair.server.rtcp[-1]["type"], pair.server.rtcp[-1]["count"]) == (206, 1)
    assert pair.server.rtcp[-1]["media"] == pair.video_slot.ssrc


def test_report_block_says_what_was_lost(pair: Pair) -> None:
    pair.connect()
    for number in (1, 2, 4, 5):
        pair.give(pair.slot_packet(number))
    pair.run(1)
    (report,) = [report for block in pair.server.rtcp if block["type"] == 201 for report in block["reports"]]
    assert (report["ssrc"], report["highest"], report["lost"]) == (pair.video_slot.ssrc, 5, 1)
    assert report["fraction_lost"] == 256 // 5


# --- hostile input and long calls ---


def test_junk_from_the_server_s_address_does_no_harm(pair: Pair, rng: random.Random) -> None:
    asked = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12), {"USERNAME": "#:them"})
    for phase in range(2):
        for first in range(256):
            for length in (0, 1, 11, 12, 13, 19, 40, 200):
                data = bytes([first]) + rng.randbytes(length)
                pair.peer.receive(data[:length], SERVER, pair.now)
                pair.peer.receive(data, SERVER, pair.now)
        pair.peer.receive(bytes(asked).replace(b"#", b"\xff"), SERVER, pair.now)  # a user's name that is no text
        if phase == 0:
            pair.connect()
    pair.peer.send("audio", b"sound", 960)
    pair.exchange()
    assert pair.server.rtp[-1]["payload"] == b"sound"
    pair.give(pair.slot_packet(1))
    assert len(pair.packets) == 1


def test_authentic_but_malformed_media_is_dropped(pair: Pair) -> None:
    pair.connect()
    slot = pair.video_slot
    pair.give(pair.server.media(rtp_packet(97, 1, 90, slot.rtx_ssrc, b"\0")))  # no room for the original number
    pair.give(pair.server.media(rtp_packet(SLOT_PAYLOAD, 1, 90, slot.ssrc, b"video", padding=1)[:-1] + b"\xff"))
    pair.give(pair.server.media(rtp_packet(SLOT_PAYLOAD, 1, 90, 12345, b"of nobody")))
    assert not pair.packets


def test_errors_of_whoever_takes_the_packets_are_not_hidden(pair: Pair) -> None:
    pair.connect()

    def refuse(packet: ReceivedPacket) -> None:
        raise ValueError("no picture")

    pair.peer.on_packet = refuse
    with pytest.raises(ValueError, match="no picture"):
        pair.give(pair.slot_packet(1))


def test_memory_of_a_long_stream_is_bounded() -> None:
    delivered: list[int] = []
    stream = ReceiveStream(1, 2, lambda packet: delivered.append(packet.sequence))
    clear = {"payload": b"x", "ssrc": 1, "timestamp": 0, "payload_type": 96, "marker": False}
    count = 10 * WINDOW
    for number in range(count):
        stream.packet(clear | {"sequence": (65_000 + number) & 0xFFFF}, number / 1000)
    assert delivered == list(range(65_000, 65_000 + count))
    assert len(stream._seen) <= 2 * WINDOW
    for late in (stream.highest, stream.highest - WINDOW + 1, stream.highest - WINDOW, stream.highest - 3 * WINDOW):
        stream.packet(clear | {"sequence": late & 0xFFFF}, 100)
    assert len(delivered) == count


def test_packet_from_before_the_first_one_counts_over_the_wrap() -> None:
    delivered: list[int] = []
    stream = ReceiveStream(1, 2, lambda packet: delivered.append(packet.sequence))
    clear = {"payload": b"x", "ssrc": 1, "timestamp": 0, "payload_type": 96, "marker": False}
    for number in (2, 65_534, 3):
        stream.packet(clear | {"sequence": number}, 1.0)
    assert delivered == [2, -2, 3]
    assert (stream.first, stream.report(1.0)["lost"]) == (-2, 3)
