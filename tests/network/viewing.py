"""A viewer and a publisher as libwebrtc has them, for calls over links that carry less than is wished.

`Screen` shows what one person sees of another: a frame is shown when it is whole and the one before was, or when it is
a keyframe; after 3 s without a frame it asks for a keyframe. `Estimate` is the receiver's estimate of its link (REMB)
and `EncodedCamera` an encoder that keeps to the newest limit told.

The estimate follows aimd_rate_control.cc: 0.85 of what arrives when the link is overused; otherwise 8 % more each
second, or about a packet more each response time near what was too much, and never beyond 1.5 of what arrives. As
there, what arrives are pictures and their repetitions, without headers and without sound. Overuse is a queue that
grows; how libwebrtc filters noise to see that is left out.
"""

from collections import deque
from itertools import pairwise

from rtc._wire import rtcp_remb
from rtc.peer_streams import ReceivedPacket
from tests.network.media import VIDEO_S, Camera, Stamp, read_stamp, read_vp8, stamped, vp8
from tests.network.world import Person, World

PATIENCE_S = 3.0
NACK_S = 0.1  # between two requests for a packet: what libwebrtc takes while it knows of no round trip
SOUND_BPS = 50_000  # with all headers; a limit is for sound and pictures together
FROZEN_S = 0.2  # between two frames: five are missing


class Screen:
    """What `viewer` sees of whoever is in their video slots."""

    def __init__(self, world: World, viewer: Person) -> None:
        self.world, self.viewer = world, viewer
        self.shown: list[float] = []
        """When each frame was shown, in seconds."""
        self.began = world.now
        self.repeated = 0
        self._asked = world.now
        self._packets: dict[int, ReceivedPacket] = {}
        self._next: int | None = None
        self._before = viewer.peer.on_packet
        viewer.peer.on_packet = self._packet
        for slot in viewer.peer.slots.values():
            slot.nack_interval = NACK_S
        world.network.after(0.1, self._watch)

    def _packet(self, packet: ReceivedPacket) -> None:
        self._before(packet)
        if self.viewer.peer.slots[packet.ssrc].kind != "video":
            return
        self.repeated += packet.repaired
        self._packets[packet.sequence] = packet
        while self._show():
            pass

    def _show(self) -> bool:
        end = self._frame(self._next) if self._next is not None else None
        if end is None:
            starts = (n for n, p in self._packets.items() if read_vp8(p.payload).key and self._frame(n) is not None)
            newest = max(starts, default=None)
            if newest is None or (self._next is not None and newest < self._next):
                return False
            end = self._frame(newest)
        assert end is not None
        self._next = end + 1
        for number in [number for number in self._packets if number <= end]:
            del self._packets[number]
        self.shown.append(self.world.now)
        return True

    def _frame(self, first: int) -> int | None:
        """The last packet of the frame that begins with that one, if all are there."""
        number = first
        while (packet := self._packets.get(number)) is not None:
            if packet.marker:
                return number
            number += 1
        return None

    def _watch(self) -> None:
        since = max(self.shown[-1] if self.shown else self.began, self._asked)
        waits = PATIENCE_S if self.shown and self.shown[-1] >= self._asked else 0.5
        if self.world.now - since > waits:
            self._asked = self.world.now
            for slot in self.viewer.peer.slots.values():
                if slot.kind == "video" and slot.received:
                    self.viewer.peer.ask_keyframe(slot.ssrc)
            self.viewer.touch()
        self.world.network.after(0.1, self._watch)

    def frozen_s(self, since: float) -> float:
        """Seconds from then on that were spent before a picture that stood still."""
        times = [since, *(at for at in self.shown if at >= since), self.world.now]
        return sum(after - before for before, after in pairwise(times) if after - before > FROZEN_S)


class Estimate:
    """What `viewer` believes that its link carries, told to the server each half second and at once when it falls."""

    def __init__(self, world: World, viewer: Person) -> None:
        self.world, self.viewer = world, viewer
        self.bps = 0.0
        self.told: list[tuple[float, float]] = []
        self._arrived: deque[tuple[float, int, float]] = deque()  # (when, octets, delay)
        self._capacity: float | None = None
        self._rests = False
        self._began = float("inf")
        self._before = viewer.peer.on_packet
        viewer.peer.on_packet = self._packet
        world.network.after(0.1, self._tick)

    def _packet(self, packet: ReceivedPacket) -> None:
        self._before(packet)
        if self.viewer.peer.slots[packet.ssrc].kind != "video":
            return
        stamp = read_stamp(packet.payload)
        delay = packet.at - stamp.captured_ns / 1e9 if stamp and not packet.repaired else float("nan")
        self._began = min(self._began, packet.at)
        self._arrived.append((packet.at, len(packet.payload), delay))

    def _tick(self) -> None:
        now = self.world.now
        while self._arrived and self._arrived[0][0] < now - 1:
            self._arrived.popleft()
        arriving = 8.0 * sum(size for _, size, _ in self._arrived)
        if self._arrived and now - self._began >= 2:
            before = self.bps or arriving
            self.bps = before
            self._change(arriving, 0.1)
            fell = self.bps < before * 0.97
            if fell or not self.told or now - self.told[-1][0] >= 0.5 - 1e-6:
                self._tell()
        self.world.network.after(0.1, self._tick)

    def _delay(self, since: float, until: float) -> float:
        """The least of that time, which no single large frame raises."""
        now = self.world.now
        return min(
            (delay for at, _, delay in self._arrived if now - since <= at < now - until and delay == delay),
            default=float("nan"),
        )

    def _change(self, arriving: float, seconds: float) -> None:
        growth_s = self._delay(0.25, 0) - self._delay(0.5, 0.25)
        if growth_s > 0.02:
            self._capacity = arriving
            self.bps = min(self.bps, 0.85 * arriving)
            self._rests = True
            return
        if growth_s < -0.02 or self._rests:  # queues drain
            self._rests = growth_s < -0.02
            return
        if self._capacity is not None and arriving > 1.3 * self._capacity:
            self._capacity = None
        if self._capacity is None:
            more = self.bps * (1.08**seconds - 1)
        else:
            more = max(4000.0, min(9600.0, self.bps * VIDEO_S) / 0.3) * seconds
        self.bps = max(self.bps, min(self.bps + more, 1.5 * arriving + 10_000))

    def _tell(self) -> None:
        self.told.append((self.world.now, self.bps))
        ssrcs = [slot.ssrc for slot in self.viewer.peer.slots.values() if slot.kind == "video"]
        self.viewer.peer.send_rtcp(rtcp_remb(1, round(self.bps), ssrcs))
        self.viewer.touch()


class EncodedCamera(Camera):
    """A keyframe is five times as large as what follows it; `wished_bps` is kept to where no limit is lower.

    `floor_bps`: the least that this encoder can make.
    """

    def __init__(self, world: World, person: Person, wished_bps: float, floor_bps: float = 30_000) -> None:
        super().__init__(world.network, person.peer, person.number, person.touch)
        self.person, self.wished_bps, self.floor_bps = person, wished_bps, floor_bps
        self.bps = min(300_000.0, wished_bps)
        self.octets: list[tuple[float, int]] = []
        self._debt = 0.0

    def _follow(self) -> None:
        limits = [block["bitrate"] for _, block in self.person.rtcp if (block["type"], block["count"]) == (206, 15)]
        limit_bps = limits[-1] - SOUND_BPS if limits else self.wished_bps
        most = max(self.floor_bps, min(self.wished_bps, limit_bps))
        self.bps = min(most, self.bps * 1.08)  # an encoder does not leap up, but 7 times in a second

    def send(self) -> None:
        self._follow()
        self.timestamp += round(90_000 * VIDEO_S)
        if self.peer.connected:
            key = self.needs_key or self.peer.keyframes_wanted > 0
            self.needs_key, self.peer.keyframes_wanted = False, 0
            self.keyframes += key
            even = self.bps * VIDEO_S / 8
            size = max(60, round(5 * even if key else even - min(self._debt, even / 2)))
            self._debt = max(0.0, self._debt + size - even)
            count = -(-size // 1100)
            for i in range(count):
                head = vp8(self.picture, self.tl0, key=key, start=i == 0)
                payload = head + stamped(Stamp(self.sender, self.sent, self.network.now_ns), size // count)
                self.peer.send(self.name, payload, self.timestamp, marker=i == count - 1, now=self.network.now)
                self.sent += 1
            self.octets.append((self.network.now, size))
            self.frames += 1
            self.picture += 1
            self.tl0 += 1
        self._touch()

    def sent_bps(self, since: float, until: float) -> float:
        return 8 * sum(size for at, size in self.octets if since <= at < until) / (until - since)
