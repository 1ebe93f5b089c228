"""A server and any number of people in one process, on an emulated network.

Everything is real but the network and the clock: the node with its rooms, the worker in C, DTLS, SRTP, and bare peers.
Signalling takes no time: joins, offers and answers are handed over directly.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

from backplane.certificates import self_signed
from rtc._dtls import Identity
from rtc._worker import Worker
from rtc.peer import Peer, PeerOptions
from rtc.peer_streams import ReceivedPacket
from rtc.worker_events import WorkerEvents
from sfu.events import RoomEvent, SlotInfo, SlotsChanged
from sfu.node import Node
from sfu.protocol import DeclaredTrack, Right, Source
from sfu.room import Notify, Room
from tests.network.emulator import MS, SECOND, Address, Link, Network
from tests.network.media import Camera, Microphone, Stamp, read_stamp

SERVER: Address = ("198.51.100.1", 3478)
PLAIN = Link()
BOTH = PeerOptions()
SOURCES = {"audio": Source.MICROPHONE, "video": Source.CAMERA, "screen": Source.SCREEN}


@cache
def identity(name: str) -> Identity:
    """A certificate per role; making one for each of hundreds of people would only cost time."""
    del name
    return Identity(*self_signed(1_750_000_000))


def in_ns(seconds: float) -> int:
    """The first nanosecond that, as seconds, is not before that time."""
    ns = int(seconds * SECOND)
    while ns / SECOND < seconds:
        ns += 1
    return ns


class Server:
    """Node and worker as one host of the network."""

    def __init__(self, network: Network, rng: random.Random, notify: Notify) -> None:
        self.worker = Worker(threaded=False, seed=rng.getrandbits(63))
        self.node = Node(
            workers=[self.worker],
            identity=identity("server"),
            candidates=[[SERVER]],
            entropy=rng.randbytes,
            clock=lambda: 0.0,
            notify=notify,
        )
        self._dispatcher = WorkerEvents([self.worker], [self.node])
        self.events: list[tuple[float, tuple[Any, ...]]] = []
        self._tick_ns = self._due_ns = network.now_ns
        self.settle(network.now_ns)

    def receive(self, data: bytes, source: Address, now_ns: int) -> None:
        self.worker.receive(data, source, now_ns)
        self.settle(now_ns)

    def handle_timer(self, now_ns: int) -> None:
        now = now_ns / SECOND
        if self._tick_ns <= now_ns:
            self._tick_ns = now_ns + 100 * MS
            self.node.tick(now)
        self.node.handle_timers(now)
        self.settle(now_ns)

    def settle(self, now_ns: int) -> None:
        """Let the worker act and the node hear of it, until there is nothing left to say."""
        self._due_ns = self.worker.advance(now_ns)
        while events := self.worker.take_events():
            self.events += [(now_ns / SECOND, event) for event in events]
            self._dispatcher.dispatch(0, events, now_ns / SECOND)
            self._due_ns = self.worker.advance(now_ns)

    def timer_ns(self) -> int | None:
        handshake = self.node.timer()
        times = [self._tick_ns, self._due_ns]
        return min(times if handshake is None else [*times, in_ns(handshake)])

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        return self.worker.take_datagrams()

    def counter(self, name: str) -> int:
        return self.worker.counters()[name]


class Person:
    """One participant: a peer, its sources, and all that it has received."""

    def __init__(self, world: "World", number: int, address: Address, options: PeerOptions) -> None:
        self.world, self.number, self.address = world, number, address
        network = world.network
        self.peer = Peer(identity("peer"), random.Random(f"{world.seed}:{number}"), options)
        self.peer.on_packet = self._packet
        self.peer.on_rtcp = self._rtcp
        self.microphone = Microphone(network, self.peer, number, self.touch)
        self.camera = Camera(network, self.peer, number, self.touch)
        self.id = ""
        self.hides_ssrcs = False
        self.packets: list[ReceivedPacket] = []
        self.rtcp: list[tuple[float, dict[str, Any]]] = []
        self.heard: dict[tuple[int, str], list[Stamp]] = defaultdict(list)
        """What arrived, by (sender's number, kind)."""
        self.inbox: list[tuple[float, dict[str, Any]]] = []
        self.slots: list[SlotInfo] = []

    def _packet(self, packet: ReceivedPacket) -> None:
        self.packets.append(packet)
        stamp = read_stamp(packet.payload)
        if stamp is not None:
            self.heard[stamp.sender, self.peer.slots[packet.ssrc].kind].append(stamp)

    def _rtcp(self, block: dict[str, Any], now: float) -> None:
        self.rtcp.append((now, block))

    def touch(self) -> None:
        self.world.network.touch(self)

    # --- host -------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, now_ns: int) -> None:
        self.peer.receive(data, source, now_ns / SECOND)

    def handle_timer(self, now_ns: int) -> None:
        self.peer.handle_timer(now_ns / SECOND)

    def timer_ns(self) -> int | None:
        at = self.peer.timer()
        return None if at is None else in_ns(at)

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        return self.peer.datagrams_to_send(now_ns / SECOND)

    # --- what people do ---------------------------------------------------------------------------------------------

    def offer(self, *, restart: bool = False) -> None:
        """Renegotiate what the peer's lines say now."""
        sdp = self._described(self.peer.offer(restart=restart))
        answer, self.slots = self.world.room.offer(self.id, sdp, self._tracks(), self.now)
        self.world.settle()
        self.peer.accept(answer, self.now)
        self.touch()

    def _described(self, sdp: str) -> str:
        """The offer as signalled: without SSRCs when we hide them, as some stacks do."""
        return "".join(line for line in sdp.splitlines(True) if not (self.hides_ssrcs and line.startswith("a=ssrc")))

    def _tracks(self) -> list[DeclaredTrack]:
        sending = [line for line in self.peer.lines if line.direction == "sendonly"]
        return [DeclaredTrack(line.mid, SOURCES[line.sender or ""]) for line in sending]

    def join(self) -> None:
        joined = self.world.room.join(
            f"identity-{self.number}",
            f"Person {self.number}",
            "guest",
            frozenset(Right),
            self._described(self.peer.offer()),
            self._tracks(),
            self.now,
        )
        self.id, self.slots = joined.participant_id, joined.slots
        self.world.by_id[self.id] = self
        self.world.settle()
        self.peer.accept(joined.answer_sdp, self.now)
        self.touch()

    def leave(self) -> None:
        self.microphone.on = self.camera.on = False
        self.world.room.leave(self.id, "left", self.now)
        self.world.settle()

    def talk(self, level: int = 30) -> None:
        self.microphone.level = level
        if not self.microphone.on:
            self.microphone.start()

    def show(self) -> None:
        self.camera.start()

    def move(self, address: Address) -> None:
        """A new address, as after a change from Wi-Fi to mobile; links are to be set for it before."""
        self.address = address
        self.world.network.attach(self, address)

    def quiet(self) -> None:
        self.microphone.on = self.camera.on = False

    # --- what can be asked of them ------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.world.network.now

    @property
    def transport(self) -> int:
        """The worker's number of this participant's transport."""
        return self.world.room._people[self.id].connection.transport

    def hears(self, other: "Person", kind: str) -> list[Stamp]:
        return self.heard[other.number, kind]

    def numbers(self, other: "Person", kind: str) -> list[int]:
        return [stamp.number for stamp in self.hears(other, kind)]

    def stream(self, kind: str) -> list[ReceivedPacket]:
        """Received packets of all slots of a kind."""
        return [packet for packet in self.packets if self.peer.slots[packet.ssrc].kind == kind]

    def mail(self, kind: str) -> list[tuple[float, dict[str, Any]]]:
        """Pushes of a type, with their times."""
        return [(at, message) for at, message in self.inbox if message["type"] == kind]

    def feedback(self, type: int, count: int) -> list[tuple[float, dict[str, Any]]]:
        """Received RTCP blocks of a type and feedback format."""
        return [(at, block) for at, block in self.rtcp if (block["type"], block["count"]) == (type, count)]

    def reports(self, ssrc: int) -> list[dict[str, int]]:
        """Report blocks received about one of our streams, oldest first."""
        blocks = [block for _, block in self.rtcp if block["type"] in (200, 201)]
        return [report for block in blocks for report in block["reports"] if report["ssrc"] == ssrc]


def sequences(person: Person, kind: str = "video") -> list[int]:
    """Sequence numbers received in all slots of a kind, ascending. Of use while one slot is in use."""
    return sorted(packet.sequence for packet in person.stream(kind))


def without_hole(numbers: list[int]) -> bool:
    return all(b - a == 1 for a, b in pairwise(numbers))


class World:
    """`now` starts at 1,000 s; people's numbers start at 1."""

    def __init__(self, seed: int | str = 1, link: Link = PLAIN) -> None:
        self.seed = seed
        self.network = Network(seed)
        self.network.default = link
        self.server = Server(self.network, random.Random(f"{seed}:server"), self._notify)
        self.network.attach(self.server, SERVER)
        self.people: list[Person] = []
        self.by_id: dict[str, Person] = {}
        self.sent_by_server: dict[bytes, set[bytes]] = defaultdict(set)
        self.network.taps.append(self._note_sent)
        self._room = self.server.node.room("room")

    @property
    def room(self) -> Room:
        return self.server.node.room("room")

    @property
    def now(self) -> float:
        return self.network.now

    def _notify(self, receivers: Sequence[str], event: RoomEvent) -> None:
        for person in (self.by_id[id] for id in receivers if id in self.by_id):
            person.inbox.append((self.network.now, msgspec.to_builtins(event)))
            if isinstance(event, SlotsChanged):
                person.slots = event.slots

    def _note_sent(self, data: bytes, source: Address, target: Address, now_ns: int) -> None:
        if source == SERVER and 128 <= data[0] < 192 and not 192 <= data[1] <= 223:
            key = f"{target}".encode() + data[2:4] + data[8:12]
            self.sent_by_server[key].add(data)

    def keystream_reused(self) -> int:
        """How often two different packets went out under one SSRC and sequence number. Runs stay below 2^16 packets
        per stream, so that this means: under one index (RFC 7714 section 8.1)."""
        return sum(len(packets) > 1 for packets in self.sent_by_server.values())

    def settle(self) -> None:
        """After something was done to the server from outside the network."""
        self.server.settle(self.network.now_ns)
        self.network.touch(self.server)

    def add(
        self,
        options: PeerOptions = BOTH,
        up: Link | None = None,
        down: Link | None = None,
        *,
        join: bool = True,
    ) -> Person:
        """One more person; `up` and `down`: links to and from the server, the default where None."""
        number = len(self.people) + 1
        person = Person(self, number, (f"203.0.113.{number}", 40_000 + number), options)
        self.people.append(person)
        if up is not None:
            self.network.connect(person.address[0], SERVER[0], up)
        if down is not None:
            self.network.connect(SERVER[0], person.address[0], down)
        self.network.attach(person, person.address)
        if join:
            person.join()
        return person

    def run(self, seconds: float) -> None:
        self.network.run(seconds)

    def until(self, condition: Callable[[], bool], timeout_s: float) -> float:
        return self.network.run_until(condition, timeout_s)

    def connect_all(self, timeout_s: float = 5) -> float:
        """Seconds until everybody has keys on both sides."""
        return self.until(lambda: all(self.is_connected(person) for person in self.people), timeout_s)

    def is_connected(self, person: Person) -> bool:
        return person.peer.connected and self.room._people[person.id].connection.connected


def call(seed: int | str = 1, people: int = 2, link: Link = PLAIN, options: PeerOptions = BOTH) -> World:
    """People who are connected, and silent."""
    world = World(seed, link)
    for _ in range(people):
        world.add(options)
    world.connect_all(30)
    return world
