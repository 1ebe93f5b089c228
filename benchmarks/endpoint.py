"""The transport of one load participant: a UDP socket, ICE checks as the controlling side, DTLS as the client.

Towards any ICE-lite server. Signalling gives the remote side, `connect` does the rest; afterwards socket and keys go to
the load generator.
"""

import asyncio
import random
import socket
import time
from dataclasses import dataclass

from benchmarks.generator import Keys, Sender
from rtc._dtls import Dtls, Identity
from rtc._wire import Srtp, stun_check, stun_success
from rtc.sdp import parse
from rtc.sdp_types import Media

OPUS, VP8, VP8_RTX = 111, 96, 97
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
TRANSPORT_CC_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
_EXTENSIONS = {1: AUDIO_LEVEL_URI, 2: ABS_SEND_TIME_URI, 3: TRANSPORT_CC_URI, 4: MID_URI}
_CHECK_INTERVAL_S = 0.1
_PRIORITY = 0x6E7F00FF
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Remote:
    """The server's side of a transport."""

    address: tuple[str, int]
    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, media: Media) -> "Remote":
        """From an m-line of the server's description. ValueError when it has no UDP candidate."""
        for candidate in media.candidates:
            words = candidate.split()
            if words[2].lower() == "udp":
                fingerprints = tuple((item.algorithm, item.digest) for item in media.fingerprints)
                return cls((words[4], int(words[5])), media.ufrag, media.password, fingerprints)
        raise ValueError("the server offers no UDP candidate")


class Endpoint:
    """One participant. `offer` or `answer` describes it; `connect` connects it."""

    def __init__(self, identity: Identity, *, publishes: bool, local: str = "127.0.0.1") -> None:
        self._identity = identity
        self.ufrag = "".join(random.choices(_LETTERS, k=8))
        self.password = "".join(random.choices(_LETTERS, k=24))
        self.audio_ssrc = random.getrandbits(31) + 1 if publishes else 0
        self.video_ssrc = random.getrandbits(31) + 1 if publishes else 0
        self.rtx_ssrc = random.getrandbits(31) + 1 if publishes else 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((local, 0))
        self.check = b""
        self.keys: Keys | None = None
        self.sender = Sender()
        self._dtls: Dtls | None = None
        self._changed = asyncio.Event()
        self._answered = False
        self._began = 0.0
        self._early_media: tuple[bytes, float] | None = None
        self._first_picture: float | None = None
        self.ice_s = 0.0
        """From `connect` to the first answered check."""

    def close(self) -> None:
        self.socket.close()

    # --- session descriptions ---------------------------------------------------------------------------------------

    def offer(self, *, audio_slots: int, video_slots: int) -> str:
        """Sending lines first if we publish, then that many receiving ones."""
        kinds = [("audio", "sendonly"), ("video", "sendonly")] if self.audio_ssrc else []
        kinds += [("audio", "recvonly")] * audio_slots + [("video", "recvonly")] * video_slots
        lines = [*self._session_lines(len(kinds)), "a=extmap-allow-mixed"]
        for mid, (kind, direction) in enumerate(kinds):
            lines += self._media_lines(kind, direction, str(mid), "active", OPUS if kind == "audio" else VP8, VP8_RTX)
        return "\r\n".join(lines) + "\r\n"

    def answer(self, offer: str) -> str:
        """Receive everything that is offered, with the offer's payload types."""
        media = parse(offer).media
        lines = self._session_lines(len(media), [line.mid for line in media])
        for line in media:
            numbers = [item.number for item in line.payload_types]
            rtx = numbers[1] if len(numbers) > 1 else 0
            lines += self._media_lines(line.kind, "recvonly", line.mid, "active", numbers[0], rtx)
        return "\r\n".join(lines) + "\r\n"

    def _session_lines(self, count: int, mids: list[str] | None = None) -> list[str]:
        bundle = " ".join(mids or map(str, range(count)))
        return ["v=0", f"o=- {random.getrandbits(60)} 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {bundle}"]

    def _media_lines(self, kind: str, direction: str, mid: str, setup: str, number: int, rtx: int) -> list[str]:
        fingerprint = ":".join(f"{byte:02X}" for byte in self._identity.fingerprint)
        formats = str(number) if kind == "audio" or not rtx else f"{number} {rtx}"
        host, port = self.socket.getsockname()
        lines = [f"m={kind} 9 UDP/TLS/RTP/SAVPF {formats}", "c=IN IP4 0.0.0.0"]
        lines += [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.password}", f"a=fingerprint:sha-256 {fingerprint}"]
        lines += [f"a=setup:{setup}", f"a=mid:{mid}", f"a={direction}", "a=rtcp-mux", "a=rtcp-rsize"]
        lines += [f"a=candidate:1 1 udp {_PRIORITY} {host} {port} typ host"]
        for id, uri in _EXTENSIONS.items():
            if kind == "audio" or uri != AUDIO_LEVEL_URI:
                lines.append(f"a=extmap:{id} {uri}")
        if kind == "audio":
            lines += [f"a=rtpmap:{number} opus/48000/2", f"a=fmtp:{number} minptime=10;useinbandfec=1"]
            lines.append(f"a=rtcp-fb:{number} transport-cc")
        else:
            lines.append(f"a=rtpmap:{number} VP8/90000")
            for feedback in ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"):
                lines.append(f"a=rtcp-fb:{number} {feedback}")
            if rtx:
                lines += [f"a=rtpmap:{rtx} rtx/90000", f"a=fmtp:{rtx} apt={number}"]
        if direction == "sendonly":
            if kind == "video":
                lines.append(f"a=ssrc-group:FID {self.video_ssrc} {self.rtx_ssrc}")
            ssrcs = [self.audio_ssrc] if kind == "audio" else [self.video_ssrc, self.rtx_ssrc]
            lines += [f"a=ssrc:{ssrc} cname:load" for ssrc in ssrcs]
        return lines

    # --- connecting -------------------------------------------------------------------------------------------------

    def take_answer(self, answer: str) -> Remote:
        """What the server has made of our offer: its side, and how we are to send."""
        media = [line for line in parse(answer).media if not line.rejected]
        if self.audio_ssrc:
            ids = {item.uri: item.id for line in media[:2] for item in line.extensions}
            self.sender = Sender(
                audio_ssrc=self.audio_ssrc,
                video_ssrc=self.video_ssrc,
                audio_payload_type=media[0].payload_types[0].number,
                video_payload_type=media[1].payload_types[0].number,
                transport_cc=ids.get(TRANSPORT_CC_URI, 0),
                audio_level=ids.get(AUDIO_LEVEL_URI, 0),
            )
        return Remote.of(media[0])

    async def connect(self, remote: Remote, timeout_s: float = 20) -> None:
        """ICE and DTLS; then `keys` and `check` are there. TimeoutError, ConnectionError."""
        loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        self.socket.connect(remote.address)
        self.check = stun_check(
            random.randbytes(12),
            f"{remote.ufrag}:{self.ufrag}".encode(),
            remote.password.encode(),
            priority=_PRIORITY,
            controlling=True,
            tiebreaker=random.getrandbits(64),
            use_candidate=True,
        )
        self._dtls = Dtls(self._identity, server=False, fingerprints=remote.fingerprints)
        loop.add_reader(self.socket.fileno(), self._readable)
        try:
            async with asyncio.timeout(timeout_s):
                while self.keys is None:
                    await self._step()
        finally:
            loop.remove_reader(self.socket.fileno())

    async def first_media(self, timeout_s: float = 20) -> float:
        """When (time.perf_counter) the first authentic RTP packet came. After `connect`; TimeoutError, ValueError."""
        assert self.keys is not None
        loop = asyncio.get_running_loop()
        loop.add_reader(self.socket.fileno(), self._readable)
        try:
            async with asyncio.timeout(timeout_s):
                while self._early_media is None:
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            loop.remove_reader(self.socket.fileno())
        packet, at = self._early_media
        Srtp(self.keys.profile, self.keys.receive_key, self.keys.receive_salt).unprotect(packet)
        return at

    async def first_picture(self, timeout_s: float = 20) -> float:
        """When (time.perf_counter) the last packet of the first video frame came: of a keyframe, with which the server
        begins. After `connect`; TimeoutError."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.socket.fileno(), self._readable)
        try:
            async with asyncio.timeout(timeout_s):
                while self._first_picture is None:
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            loop.remove_reader(self.socket.fileno())
        return self._first_picture

    async def _step(self) -> None:
        """Send what is due, then wait for a datagram or the next timer."""
        assert self._dtls is not None
        now = time.monotonic()
        due = now + _CHECK_INTERVAL_S
        if not self._answered:
            self._send(self.check)
        else:
            if self._dtls.state == "new":
                self._dtls.start(now)
            self._dtls.handle_timer(now)
            for datagram in self._dtls.datagrams_to_send():
                self._send(datagram)
            due = self._dtls.timer() or due
        if self._dtls.failure:
            raise ConnectionError(self._dtls.failure)
        self._changed.clear()
        if not self._take_keys():
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take_keys(self) -> bool:
        assert self._dtls is not None
        found = self._dtls.keys
        if found is not None:
            local, remote = (found.local_key, found.local_salt), (found.remote_key, found.remote_salt)
            self.keys = Keys(found.profile, *local, *remote)
        return found is not None

    def _send(self, datagram: bytes) -> None:
        try:
            self.socket.send(datagram)
        except (BlockingIOError, ConnectionRefusedError):
            return  # lost, as datagrams are: timers repeat it

    def _readable(self) -> None:
        while True:
            try:
                datagram = self.socket.recv(2048)
            except (BlockingIOError, ConnectionRefusedError):
                break
            if datagram[0] < 4:
                self._receive_stun(datagram)
            elif 128 <= datagram[0] < 192 and not 192 <= datagram[1] < 224:
                self._early_media = self._early_media or (datagram, time.perf_counter())
                if datagram[1] == 0x80 | VP8:
                    self._first_picture = self._first_picture or time.perf_counter()
            elif 20 <= datagram[0] < 64 and self._dtls is not None:
                self._dtls.receive(datagram, time.monotonic())
                for reply in self._dtls.datagrams_to_send():
                    self._send(reply)
        self._changed.set()

    def _receive_stun(self, datagram: bytes) -> None:
        """An answer to our check, or a check of a server that is not as lite as it says."""
        if datagram[:2] == b"\x01\x01":
            if not self._answered:
                self.ice_s = time.perf_counter() - self._began
            self._answered = True
        elif datagram[:2] == b"\x00\x01":
            self._send(stun_success(datagram[8:20], self.socket.getpeername(), self.password.encode()))
