"""A media plane that only writes down its commands, a handshake that ends at once, and a house of rooms on top of
them."""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from rtc._dtls import SrtpKeys
from rtc.sdp_answer import Policy
from rtc.worker_events import EventKind, WorkerEvent, WorkerEvents
from sfu.events import Joined, RoomEvent
from sfu.node import Node
from sfu.protocol import DeclaredTrack, Right, Source
from sfu.room import Room
from tests.rtc.offers import load

ALL_RIGHTS = frozenset(Right)
MICROPHONE_AND_CAMERA = (DeclaredTrack("0", Source.MICROPHONE), DeclaredTrack("1", Source.CAMERA))
OFFER = load("firefox_publisher_and_slots.sdp")  # microphone, camera, 3 audio and 8 video slots
AUDIO_OFFER = load("chromium_audio_only.sdp")  # microphone and 3 audio slots


class Command(NamedTuple):
    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]


class FakeWorker:
    """Records commands in order; keeps what is alive as a worker would, and fails where a worker would refuse."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.transports: dict[int, tuple[str, str]] = {}
        self.tracks: dict[int, dict[str, Any]] = {}
        self.legs: dict[int, dict[str, Any]] = {}
        self.sources: dict[int, int] = {}
        self.keys: dict[int, tuple[Any, ...]] = {}
        self.events: list[WorkerEvent] = []

    def hold(self) -> None: ...
    def let_go(self) -> None: ...

    def _note(self, name: str, *args: Any, **options: Any) -> None:
        self.commands.append(Command(name, args, options))

    def named(self, name: str) -> list[Command]:
        return [command for command in self.commands if command.name == name]

    def add_transport(self, transport: int, ufrag: str, password: str) -> None:
        assert transport not in self.transports
        self.transports[transport] = (ufrag, password)
        self._note("add_transport", transport, ufrag, password)

    def restart_ice(self, transport: int, ufrag: str, password: str) -> None:
        assert self.transports[transport] != (ufrag, password)
        self.transports[transport] = (ufrag, password)
        self._note("restart_ice", transport, ufrag, password)

    def set_remote(self, transport: int, ufrag: str, password: str) -> None:
        self._note("set_remote", transport, ufrag, password)

    def set_keys(self, transport: int, profile: int, *keys: bytes) -> None:
        assert transport in self.transports
        assert len(keys) == 4
        self.keys[transport] = (profile, *keys)
        self._note("set_keys", transport, profile, *keys)

    def send_dtls(self, transport: int, datagrams: Sequence[bytes]) -> None:
        assert transport in self.transports
        self._note("send_dtls", transport, list(datagrams))

    def remove_transport(self, transport: int) -> None:
        del self.transports[transport]
        for track in [track for track, config in self.tracks.items() if config["transport"] == transport]:
            self._drop_track(track)
        for leg in [leg for leg, config in self.legs.items() if config["transport"] == transport]:
            del self.legs[leg]
            self.sources.pop(leg, None)
        self._note("remove_transport", transport)

    def add_track(self, track: int, transport: int, **config: Any) -> None:
        assert track not in self.tracks
        assert transport in self.transports
        assert len(config["codecs"]) <= 16
        self.tracks[track] = {"transport": transport, **config}
        self._note("add_track", track, transport, **config)

    def remove_track(self, track: int) -> None:
        assert track in self.tracks
        self._drop_track(track)
        self._note("remove_track", track)

    def _drop_track(self, track: int) -> None:
        del self.tracks[track]
        self.sources = {leg: source for leg, source in self.sources.items() if source != track}

    def add_leg(self, leg: int, transport: int, **config: Any) -> None:
        assert leg not in self.legs
        assert transport in self.transports
        assert config["ssrc"]
        assert len(config["codecs"]) <= 16
        self.legs[leg] = {"transport": transport, **config}
        self._note("add_leg", leg, transport, **config)

    def remove_leg(self, leg: int) -> None:
        del self.legs[leg]
        self.sources.pop(leg, None)
        self._note("remove_leg", leg)

    def set_source(self, leg: int, track: int) -> None:
        assert leg in self.legs
        assert track == 0 or track in self.tracks
        if track:
            self.sources[leg] = track
        else:
            self.sources.pop(leg, None)
        self._note("set_source", leg, track)

    def fileno(self) -> int:
        return -1

    def take_events(self) -> list[WorkerEvent]:
        events, self.events = self.events, []
        return events


KEYS = SrtpKeys((7, b"L" * 16, b"l" * 12, b"R" * 16, b"r" * 12))  # type: ignore[arg-type, call-arg]


class FakeAssociation:
    """Connected by the datagram b"finished"; answers everything with an echo; wants its timer 0.2 s after a
    datagram."""

    def __init__(self, fingerprints: Sequence[tuple[str, bytes]]) -> None:
        self.fingerprints = fingerprints
        self.state = "new"
        self.closed = False
        self.timers = 0
        self._out: list[bytes] = []
        self._timer: float | None = None

    def receive(self, datagram: bytes, now: float) -> None:
        self._out.append(b"re:" + datagram)
        if datagram == b"finished":
            self.state, self._timer = "connected", None
        elif self.state != "connected":
            self.state, self._timer = "handshaking", now + 0.2

    def datagrams_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def timer(self) -> float | None:
        return self._timer

    def handle_timer(self, now: float) -> None:
        self.timers += 1
        self._out.append(b"again")
        self._timer = now + 0.4

    @property
    def keys(self) -> SrtpKeys | None:
        return KEYS if self.state == "connected" else None

    def close(self) -> None:
        self.closed = True
        self._timer = None
        self._out.append(b"close_notify")


class FakeIdentity:
    fingerprint = bytes(range(32))


class House:
    """A node over fake workers, with a clock and everybody's mailbox."""

    def __init__(self, workers: int = 1, seed: int = 1, policy: Policy | None = None) -> None:
        self.now = 100.0
        self.clock: Callable[[], float] = lambda: 0.0
        self.workers = [FakeWorker() for _ in range(workers)]
        self.associations: list[FakeAssociation] = []
        self.inbox: dict[str, list[dict[str, Any]]] = {}
        self.stages: list[tuple[str, float]] = []
        self.estimates: list[float] = []
        self.node = Node(
            workers=self.workers,
            identity=FakeIdentity(),  # type: ignore[arg-type]
            candidates=[[("192.0.2.9", 5000 + index)] for index in range(workers)],
            entropy=random.Random(seed).randbytes,
            associate=self._associate,
            clock=lambda: self.clock(),
            policy=policy,
            notify=self._notify,
            observe_stage=lambda stage, seconds: self.stages.append((stage, seconds)),
            observe_estimate=self.estimates.append,
        )
        self.events = WorkerEvents(self.workers, [self.node])

    def _notify(self, receivers: Sequence[str], event: RoomEvent) -> None:
        for id in receivers:
            self.inbox.setdefault(id, []).append(msgspec.to_builtins(event))

    def _associate(self, fingerprints: Sequence[tuple[str, bytes]]) -> FakeAssociation:
        association = FakeAssociation(fingerprints)
        self.associations.append(association)
        return association

    @property
    def worker(self) -> FakeWorker:
        return self.workers[0]

    def room(self, name: str = "room") -> Room:
        return self.node.room(name)

    def join(
        self,
        identity: str,
        *,
        room: str = "room",
        offer: str = OFFER,
        tracks: Sequence[DeclaredTrack] = MICROPHONE_AND_CAMERA,
        rights: frozenset[Right] = ALL_RIGHTS,
    ) -> Joined:
        return self.room(room).join(identity, identity.title(), "guest", rights, offer, tracks, self.now)

    def event(self, kind: EventKind, id: int, *rest: object, worker: int = 0) -> None:
        self.events.dispatch(worker, [(int(kind), id, *rest)], self.now)

    def pass_time(self, seconds: float) -> None:
        """In ticks of 100 ms."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.node.tick(self.now)

    def transport(self, index: int) -> int:
        """The transport of the join with that number, from 0."""
        return int(self.worker.named("add_transport")[index].args[0])

    def connect(self, index: int) -> None:
        """Takes the join with that number through ICE and DTLS."""
        self.event(EventKind.SELECTED, self.transport(index), "203.0.113.5", 40000)
        self.event(EventKind.DTLS, self.transport(index), b"hello")
        self.event(EventKind.DTLS, self.transport(index), b"finished")

    def track_of(self, index: int, mid: str) -> int:
        """The worker's number of the track on `mid` of that join."""
        transport = self.transport(index)
        return next(
            id for id, config in self.worker.tracks.items() if config["transport"] == transport and config["mid"] == mid
        )

    def speak(self, index: int, level: int = 20, mid: str = "0", voice: bool = True) -> None:
        """One level event, in -dBov."""
        self.event(EventKind.LEVEL, self.track_of(index, mid), level, voice, self.now)

    def mail(self, id: str, kind: str) -> list[dict[str, Any]]:
        """All messages of a type that a participant got, oldest first."""
        return [message for message in self.inbox.get(id, []) if message["type"] == kind]

    def clear(self) -> None:
        self.inbox.clear()
