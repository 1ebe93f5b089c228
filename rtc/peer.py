"""A bare WebRTC peer without I/O: offers, checks, shakes hands, sends and receives media, without a browser.

It is the client of tests in fake time, of the join benchmark and of load tests. Full ICE in the controlling role
towards one ICE-lite server (RFC 8445), DTLS client, SRTP, generic NACK with RTX both ways. Datagrams, SDP and `now`
(seconds) come in; datagrams go out.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from rtc._dtls import Dtls, Identity, SrtpKeys
from rtc._wire import (
    Srtp,
    rtcp_nack,
    rtcp_parse,
    rtcp_pli,
    rtcp_rr,
    rtp_parse,
    stun_check,
    stun_parse,
    stun_success,
    stun_verify,
)
from rtc.peer_streams import ReceivedPacket, ReceiveStream, SendStream
from rtc.sdp import parse
from rtc.sdp_types import Media

Address = tuple[str, int]

CHECK_INTERVAL = 0.05  # seconds between checks until one is answered; doubles up to
CHECK_CAP = 0.5
CONSENT_INTERVAL = 2.5  # seconds, RFC 7675 section 5.1 asks for 5 with jitter
PRIORITY = 0x6E7F00FF
MOST_ASKED = 256  # packets that one NACK asks for
OPUS, VP8, VP8_RTX, H264, H264_RTX = 111, 96, 97, 102, 103
EXTENSION_URIS = {
    1: "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    2: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    3: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    4: "urn:ietf:params:rtp-hdrext:sdes:mid",
}
AUDIO_LEVEL, ABS_SEND_TIME, TRANSPORT_CC, MID = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What to offer. `codec`: "VP8" or "H264"."""

    audio: bool = True
    video: bool = True
    codec: str = "VP8"
    audio_slots: int = 3
    video_slots: int = 2


@dataclass(slots=True)
class OfferLine:
    """One m-line of ours: of a sender (by name), else a slot to receive in."""

    mid: str
    kind: str
    sender: str | None = None
    stopped: bool = False  # port 0: the line may be used for something else (RFC 9429 section 5.2.2)
    paused: bool = False  # a=inactive

    @property
    def direction(self) -> str:
        return "inactive" if self.paused or self.stopped else "sendonly" if self.sender else "recvonly"


class Peer:
    """One participant. Use: `offer` to the server, its answer to `accept`, then datagrams both ways."""

    def __init__(self, identity: Identity, random: Random, options: PeerOptions = PeerOptions()) -> None:
        self._identity, self._random, self.options = identity, random, options
        self.ufrag, self.password = self._text(8), self._text(24)
        self._own = {self.ufrag: self.password}  # and those before ICE restarts
        self._remote_ufrag = ""
        self._remote_password = ""
        self.remote: Address | None = None
        self._tiebreaker = random.getrandbits(64)
        self._outstanding: dict[bytes, float] = {}
        self._check_at: float | None = None
        self._check_interval = CHECK_INTERVAL
        self.nominated_at: float | None = None
        self.connected_at: float | None = None
        self._dtls: Dtls | None = None
        self._send_srtp: Srtp | None = None
        self._receive_srtp: Srtp | None = None
        self._out: deque[bytes] = deque()
        self._cc_sequence = 0
        self._session = random.getrandbits(60)
        self._version = 0
        self.senders: dict[str, SendStream] = {}
        self.slots: dict[int, ReceiveStream] = {}
        self._by_ssrc: dict[int, ReceiveStream] = {}
        self.rtcp: deque[dict[str, Any]] = deque(maxlen=4096)
        self.keyframes_wanted = 0
        self.drop_sent: Callable[[bytes], bool] = lambda _: False
        self.on_packet: Callable[[ReceivedPacket], None] = lambda _: None
        self.on_rtcp: Callable[[dict[str, Any], float], None] = lambda _block, _now: None
        self.reports_at: float | None = None
        self.lines: list[OfferLine] = []
        if options.audio:
            self.add_sender("audio", "audio")
        if options.video:
            self.add_sender("video", "video")
        self.add_slots("audio", options.audio_slots)
        self.add_slots("video", options.video_slots)

    def _text(self, length: int) -> str:
        return "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))

    # --- session description ---------------------------------------------------------------------------------------

    @property
    def mids(self) -> dict[str, str]:
        """mid of each sending line by the sender's name."""
        return {line.sender: line.mid for line in self.lines if line.sender and not line.stopped}

    def add_sender(self, name: str, kind: str, *, mid: str = "") -> None:
        """One more track to send, in a line of its own; it takes the place of a stopped line if there is one."""
        line = OfferLine(mid or str(len(self.lines)), kind, name)
        place = next((i for i, old in enumerate(self.lines) if old.stopped), None)
        if place is None:
            self.lines.append(line)
        else:
            line.mid = mid or f"{self.lines[place].mid}r"
            self.lines[place] = line
        self.senders[name] = self._new_sender(kind)

    def _new_sender(self, kind: str) -> SendStream:
        if kind == "audio":
            return SendStream(self._random.getrandbits(32), OPUS)
        payload, rtx = (VP8, VP8_RTX) if self.options.codec == "VP8" else (H264, H264_RTX)
        return SendStream(self._random.getrandbits(32), payload, self._random.getrandbits(32), rtx, kind="video")

    def add_slots(self, kind: str, count: int) -> None:
        for _ in range(count):
            self.lines.append(OfferLine(str(len(self.lines)), kind))

    def line(self, name: str) -> OfferLine:
        """The line of a sender. KeyError when there is none."""
        for line in self.lines:
            if line.sender == name and not line.stopped:
                return line
        raise KeyError(name)

    def offer(self, *, restart: bool = False) -> str:
        """The SDP offer. With `restart` new ICE credentials are drawn (RFC 8445 section 9)."""
        if restart:
            self.ufrag, self.password = self._text(8), self._text(24)
            self._own[self.ufrag] = self.password
        self._version += 1
        fingerprint = ":".join(f"{byte:02X}" for byte in self._identity.fingerprint)
        used = [line.mid for line in self.lines if not line.stopped]
        lines = ["v=0", f"o=- {self._session} {self._version} IN IP4 127.0.0.1", "s=-", "t=0 0"]
        lines += ["a=group:BUNDLE " + " ".join(used), "a=extmap-allow-mixed"]
        for line in self.lines:
            lines += self._media_lines(line, fingerprint)
        return "\r\n".join(lines) + "\r\n"

    def _media_lines(self, line: OfferLine, fingerprint: str) -> list[str]:
        kind = line.kind
        video = {"VP8": (VP8, VP8_RTX), "H264": (H264, H264_RTX)}
        chosen = [self.options.codec] if line.sender else list(video)
        formats = [OPUS] if kind == "audio" else [number for name in chosen for number in video[name]]
        port = 0 if line.stopped else 9
        lines = [f"m={kind} {port} UDP/TLS/RTP/SAVPF {' '.join(map(str, formats))}", "c=IN IP4 0.0.0.0"]
        lines += [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.password}", f"a=fingerprint:sha-256 {fingerprint}"]
        lines += ["a=setup:actpass", f"a=mid:{line.mid}", f"a={line.direction}", "a=rtcp-mux", "a=rtcp-rsize"]
        for number, uri in EXTENSION_URIS.items():
            if number != AUDIO_LEVEL or kind == "audio":
                lines.append(f"a=extmap:{number} {uri}")
        if kind == "audio":
            lines += [
                f"a=rtpmap:{OPUS} opus/48000/2",
                f"a=fmtp:{OPUS} minptime=10;useinbandfec=1",
                f"a=rtcp-fb:{OPUS} transport-cc",
            ]
        else:
            for name in chosen:
                lines += self._codec_lines(name, *video[name])
        if line.direction == "sendonly" and line.sender:
            sender = self.senders[line.sender]
            if sender.rtx_ssrc:
                lines.append(f"a=ssrc-group:FID {sender.ssrc} {sender.rtx_ssrc}")
            lines += [f"a=ssrc:{ssrc} cname:peer" for ssrc in (sender.ssrc, sender.rtx_ssrc) if ssrc]
        return lines

    @staticmethod
    def _codec_lines(name: str, payload: int, rtx: int) -> list[str]:
        lines = [f"a=rtpmap:{payload} {name}/90000"]
        if name == "H264":
            lines.append(f"a=fmtp:{payload} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
        for feedback in ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"):
            lines.append(f"a=rtcp-fb:{payload} {feedback}")
        return [*lines, f"a=rtpmap:{rtx} rtx/90000", f"a=fmtp:{rtx} apt={payload}"]

    def accept(self, answer: str, now: float) -> None:
        """Take the server's answer and start checks (and, the first time, the handshake). SdpError when it is none."""
        media = parse(answer).media
        first = next(line for line in media if not line.rejected)
        restarted = first.ufrag != self._remote_ufrag
        self._remote_ufrag, self._remote_password = first.ufrag, first.password
        candidate = first.candidates[0].split()
        self.remote = (candidate[4], int(candidate[5]))
        for ours, theirs in zip(self.lines, media, strict=True):
            if theirs.rejected:
                continue
            if ours.sender:
                self._negotiate_sender(self.senders[ours.sender], theirs)
            else:
                self._add_slot(theirs)
        if restarted:
            self.nominated_at = None
            self._check_at, self._check_interval = now, CHECK_INTERVAL
        if self._dtls is None:
            fingerprints = [(f.algorithm, f.digest) for f in first.fingerprints]
            self._dtls = Dtls(self._identity, server=False, fingerprints=fingerprints)

    @staticmethod
    def _negotiate_sender(sender: SendStream, line: Media) -> None:
        agreed = {extension.id for extension in line.extensions}
        sender.extensions = {MID: line.mid.encode()} if MID in agreed else {}
        if AUDIO_LEVEL in agreed:
            sender.extensions[AUDIO_LEVEL] = b"\x7f"  # silence
        if TRANSPORT_CC in agreed:
            sender.extensions[TRANSPORT_CC] = b"\0\0"

    def _add_slot(self, line: Media) -> None:
        groups = [ssrcs for name, ssrcs in line.ssrc_groups if name == "FID"]
        ssrc, rtx = groups[0] if groups else ((*line.ssrcs, 0)[0], 0)
        if ssrc and ssrc not in self.slots:
            stream = ReceiveStream(ssrc, rtx, lambda packet: self.on_packet(packet), kind=line.kind)
            self.slots[ssrc] = self._by_ssrc[ssrc] = stream
            if rtx:
                self._by_ssrc[rtx] = stream

    # --- media -----------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._send_srtp is not None

    @property
    def srtp_keys(self) -> SrtpKeys | None:
        """The association's keys, for a load generator that carries the media on in C."""
        return self._dtls.keys if self._dtls else None

    @property
    def failure(self) -> str | None:
        return self._dtls.failure if self._dtls else None

    def send(
        self,
        name: str,
        payload: bytes,
        timestamp: int,
        *,
        marker: bool = False,
        level: int | None = None,
        padding: int = 0,
        now: float | None = None,
    ) -> None:
        """Send one packet of our "audio", "video" or other sender (clear payload; `level` in -dBov with the voice bit
        in 0x80; octets of `padding`; `now`: when it was captured, without which no sender report is sent)."""
        extensions: dict[int, bytes] = {}
        sender = self.senders[name]
        if now is not None:
            sender.clock = (now, timestamp)
        if TRANSPORT_CC in sender.extensions:
            extensions[TRANSPORT_CC] = self._next_cc()
        if level is not None and AUDIO_LEVEL in sender.extensions:
            extensions[AUDIO_LEVEL] = bytes([level])
        self._protect(sender.packet(payload, timestamp, marker=marker, extensions=extensions, padding=padding))

    def send_rtcp(self, packet: bytes) -> None:
        if self._send_srtp:
            self._out.append(self._send_srtp.protect_rtcp(packet))

    def _next_cc(self) -> bytes:
        self._cc_sequence = (self._cc_sequence + 1) & 0xFFFF
        return self._cc_sequence.to_bytes(2, "big")

    def _protect(self, packet: bytes) -> None:
        if self._send_srtp and not self.drop_sent(packet):
            self._out.append(self._send_srtp.protect(packet))

    def ask_keyframe(self, ssrc: int) -> None:
        self.send_rtcp(rtcp_rr(1, []) + rtcp_pli(1, ssrc))

    # --- datagrams and time ------------------------------------------------------------------------------------------

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        if self._dtls and self.nominated_at is not None:
            self._out.extend(self._dtls.datagrams_to_send())
        if self.remote is None:
            return []
        result = [(data, self.remote) for data in self._out]
        self._out.clear()
        return result

    def receive(self, data: bytes, address: Address, now: float) -> None:
        """Take one datagram; what is not for us is ignored, as a browser ignores it."""
        if not data or address != self.remote:
            return
        if data[0] < 4:
            self._receive_stun(data, now)
        elif 20 <= data[0] < 64 and self._dtls:
            self._dtls.receive(data, now)
            self._check_keys(now)
        elif self._receive_srtp and len(data) > 12:
            if 192 <= data[1] <= 223:
                self._receive_rtcp(data, self._receive_srtp, now)
            else:
                self._receive_rtp(data, self._receive_srtp, now)

    def _receive_stun(self, data: bytes, now: float) -> None:
        try:
            message = stun_parse(data)
        except ValueError:
            return  # junk
        if message["class"] == "request":
            self._answer_check(data, message)
            return
        if message["class"] != "success" or message["transaction"] not in self._outstanding:
            return
        if not stun_verify(data, self._remote_password.encode()):
            return
        self._outstanding.clear()
        self._check_at, self._check_interval = now + CONSENT_INTERVAL, CHECK_INTERVAL
        if self.nominated_at is None:
            self.nominated_at = now
            if self._dtls and self._dtls.state == "new":
                self._dtls.start(now)

    def _answer_check(self, data: bytes, message: dict[str, Any]) -> None:
        """A full agent answers checks too (RFC 8445 section 7.3)."""
        password = self._own.get((message["username"] or b"").partition(b":")[0].decode(errors="replace"), "").encode()
        if self.remote and password and stun_verify(data, password):
            self._out.append(stun_success(message["transaction"], self.remote, password))

    def _check_keys(self, now: float) -> None:
        keys = self._dtls.keys if self._dtls else None
        if keys and self._send_srtp is None:
            self._send_srtp = Srtp(keys.profile, keys.local_key, keys.local_salt)
            self._receive_srtp = Srtp(keys.profile, keys.remote_key, keys.remote_salt)
            self.connected_at = now
            self.reports_at = now + 1

    def _receive_rtp(self, data: bytes, srtp: Srtp, now: float) -> None:
        stream = self._by_ssrc.get(int.from_bytes(data[8:12], "big"))
        if stream is None:
            return
        try:
            packet = rtp_parse(srtp.unprotect(data))
        except ValueError:
            return  # a duplicate, forged or malformed packet
        stream.packet(packet, now)

    def _receive_rtcp(self, data: bytes, srtp: Srtp, now: float) -> None:
        try:
            blocks = rtcp_parse(srtp.unprotect_rtcp(data))
        except ValueError:
            return
        for block in blocks:
            self.rtcp.append(block)
            self.on_rtcp(block, now)
            if block["type"] == 200 and block["sender"] in self.slots:
                self.slots[block["sender"]].sender_report = (now, block["ntp"] >> 16 & 0xFFFFFFFF)
            if block["type"] == 206 and block["count"] in (1, 4):
                self.keyframes_wanted += 1
            if block["type"] == 205 and block["count"] == 1:
                for sender in self.senders.values():
                    if sender.ssrc == block["media"]:
                        self._repeat(sender, block["lost"])

    def _repeat(self, sender: SendStream, lost: list[int]) -> None:
        for number in lost:
            packet = sender.repeat(number)
            if packet:
                self._protect(packet)

    def timer(self) -> float | None:
        """When `handle_timer` wants to be called next."""
        times = [self._check_at, self.reports_at, self._dtls.timer() if self._dtls else None]
        times += [stream.next_due() for stream in self.slots.values()]
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        if self._check_at is not None and self._check_at <= now and self.remote:
            self._send_check(now)
        if self._dtls:
            self._dtls.handle_timer(now)
        for stream in self.slots.values():
            lost = stream.due(now)
            if stream.rtx_ssrc:
                for first in range(0, len(lost), MOST_ASKED):
                    self.send_rtcp(rtcp_rr(1, []) + rtcp_nack(1, stream.ssrc, lost[first : first + MOST_ASKED]))
        if self.reports_at is not None and self.reports_at <= now:
            self.reports_at = now + 1
            self._send_reports(now)

    def _send_reports(self, now: float) -> None:
        reports = [stream.report(now) for stream in self.slots.values() if stream.received]
        self.send_rtcp(rtcp_rr(1, reports[:31]))
        for sender in self.senders.values():
            report = sender.report(now)
            if report:
                self.send_rtcp(report)

    def check_soon(self, now: float) -> None:
        """Check the path at once, as a browser does when its network changes."""
        self._check_at, self._check_interval = now, CHECK_INTERVAL

    def consent_check(self) -> bytes:
        """One more check, for whoever keeps the consent alive in our place (RFC 7675)."""
        return self._check(self._random.randbytes(12), f"{self._remote_ufrag}:{self.ufrag}".encode())

    def _check(self, transaction: bytes, username: bytes) -> bytes:
        return stun_check(
            transaction,
            username,
            self._remote_password.encode(),
            priority=PRIORITY,
            controlling=True,
            tiebreaker=self._tiebreaker,
            use_candidate=True,
        )

    def _send_check(self, now: float) -> None:
        transaction = self._random.randbytes(12)
        self._outstanding[transaction] = now
        self._check_interval = min(self._check_interval * 2, CHECK_CAP)
        self._check_at = now + self._check_interval
        username = f"{self._remote_ufrag}:{self.ufrag}".encode()
        self._out.append(self._check(transaction, username))
