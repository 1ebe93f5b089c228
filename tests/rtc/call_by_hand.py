"""A call of two, driven by hand: somebody shows a picture to a participant who has addresses to choose from."""

from rtc._wire import Srtp, rtcp_parse, rtcp_rr, rtcp_sr, stun_success
from rtc._worker import Worker
from rtc.peer_streams import rtp_packet
from tests.rtc.by_hand import KEYFRAME, KEYS, PEER, SECOND, connected, line, sound
from tests.rtc.checks import PASSWORD, UFRAG, check

MS = SECOND // 1000
STEP = 10
HOME, AWAY, STRANGER = ("192.0.2.8", 40_001), ("192.0.2.9", 40_002), ("198.51.100.9", 53)
THEIRS, SECRET = "them", "theirs-that-nobody-else-knows".replace("-", "/")

Address = tuple[str, int]


class Call:
    """A publisher shows a picture each 10 ms to a participant at HOME, who has shaken hands there."""

    def __init__(self, worker: Worker, *, shaken: tuple[Address, ...] = (HOME,)) -> None:
        self.worker, self.ms, self.number, self.ufrag = worker, 0, 0, UFRAG + "2"
        self.arrived = dict[Address, list[int]]()  # media, by the millisecond
        self.asked = dict[Address, list[tuple[int, bytes]]]()
        self.bytes_to = dict[Address, int]()
        self.answering = dict[Address, str]()  # with which password; at once
        self.theirs = THEIRS
        self.sender, self.receiver, self.hearing = Srtp(*KEYS), Srtp(*KEYS), Srtp(*KEYS)
        self.reports = dict[Address, list[int]]()  # by their time, as it is to be said back (LSR)
        self.said = 0
        connected(worker)
        worker.set_keys(1, *KEYS, *KEYS[1:])
        worker.add_track(1, 1, **line())
        worker.add_transport(2, self.ufrag, PASSWORD)
        worker.set_remote(2, THEIRS, SECRET)
        for address in shaken:
            self.check_from(address)
            worker.send_dtls(2, [b"\x16" + bytes(100)])
        worker.set_keys(2, *KEYS, *KEYS[1:])
        worker.add_leg(1, 2, **line(ssrc=9))
        worker.set_source(1, 1)
        worker.add_track(2, 2, **sound() | {"ssrc": 20})

    @property
    def now_ns(self) -> int:
        return 2 * SECOND + self.ms * MS

    def check_from(self, address: Address, *, nominate: bool = True) -> None:
        self.worker.receive(check(ufrag=self.ufrag, nominate=nominate, theirs=self.theirs), address, self.now_ns)
        self.collect()

    def speak_from(self, address: Address) -> None:
        """The participant's next packet of sound."""
        self.said += 1
        packet = self.receiver.protect(rtp_packet(111, self.said, self.said * 960, 20, bytes(80)))
        self.worker.receive(packet, address, self.now_ns)

    def report_from(self, address: Address, *times: int) -> None:
        """The participant says that these sender reports have arrived."""
        fields = {"fraction_lost": 0, "lost": 0, "highest": 1, "jitter": 0, "dlsr": 0}
        packet = rtcp_rr(3, [{"ssrc": 9, "lsr": time, **fields} for time in times])
        self.worker.receive(self.receiver.protect_rtcp(packet), address, self.now_ns)

    def speaking(self, ms: int, *addresses: Address) -> None:
        """Until then, a packet of sound each 20 ms from each of the addresses."""
        while self.ms < ms:
            for address in addresses:
                self.speak_from(address)
            self.until(self.ms + 2 * STEP)

    def restart(self, ufrag: str) -> None:
        """The server has taken an offer in; who made it may never learn of that."""
        self.worker.restart_ice(2, ufrag, PASSWORD)

    def until(self, ms: int, *present: Address) -> None:
        """Those who are present check each 500 ms, and nominate nothing."""
        while self.ms < ms:
            self.number += 1
            packet = rtp_packet(96, self.number, self.ms * 90, 1, KEYFRAME, marker=True)
            self.worker.receive(self.sender.protect(packet), PEER, self.now_ns)
            self.collect()
            self.ms += STEP
            if self.ms % 500 == 0:
                self.worker.receive(check(), PEER, self.now_ns)
                report = rtcp_sr(1, (self.now_ns << 32) // SECOND, self.ms * 90, 1, 1)
                self.worker.receive(self.sender.protect_rtcp(report), PEER, self.now_ns)
                for address in present:
                    self.check_from(address, nominate=False)
            self.worker.advance(self.now_ns)
            self.collect()

    def collect(self) -> None:
        for datagram, to in self.worker.take_datagrams():
            self.bytes_to[to] = self.bytes_to.get(to, 0) + len(datagram)
            if datagram[0] >= 128 and to != PEER and 192 <= datagram[1] <= 223:
                for block in rtcp_parse(self.hearing.unprotect_rtcp(datagram)):
                    if block["type"] == 200:
                        self.reports.setdefault(to, []).append(block["ntp"] >> 16 & 0xFFFFFFFF)
            elif datagram[0] >= 128 and to != PEER:
                self.arrived.setdefault(to, []).append(self.ms)
            if datagram[:2] == b"\0\1":
                self.asked.setdefault(to, []).append((self.ms, datagram))
                if to in self.answering:
                    self.answer(datagram, to, to, self.answering[to])

    def answer(self, asked: bytes, to: Address, source: Address, password: str) -> None:
        self.worker.receive(stun_success(asked[8:20], to, password.encode()), source, self.now_ns)

    def goes_to(self, address: Address, ms: int = 200) -> bool:
        """Do media go there and nowhere else?"""
        self.arrived.clear()
        self.until(self.ms + ms)
        return set(self.arrived) == {address}
