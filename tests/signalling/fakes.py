"""Stand-ins for what signalling talks to: a node without media, and a socket that remembers what it was told."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from backplane.metrics import Metrics
from backplane.tokens import Revocations, TokenAuthority
from booking.visits.room_names import VisitRooms
from sfu.events import (
    Bye,
    ByeReason,
    Joined,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    Role,
    RoomEvent,
    SlotInfo,
)
from sfu.protocol import ConnectionState, DeclaredTrack, Right, RoomError
from sfu.room import Notify
from signalling.calls import Calls
from signalling.codes import CloseCode
from signalling.conversation import Conversation
from signalling.room_quotas import RoomLimits, RoomQuotas
from signalling.sessions import CallObserver, Sessions
from signalling.token_use import TokenUse

WALL = 1_800_000_000.0


class FakeRoom:
    """A room whose people have no media. Offers that begin with "bad" are refused."""

    def __init__(self, name: str, node: "FakeNode") -> None:
        self.name = name
        self.node = node
        self.people: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.in_use = True
        self.spare = 0

    def __len__(self) -> int:
        return len(self.people)

    def join(
        self,
        identity: str,
        name: str,
        role: Role,
        rights: Collection[Right],
        offer_sdp: str,
        tracks: Sequence[DeclaredTrack],
        now: float,
        *,
        spare: int = 0,
    ) -> Joined:
        self.spare = spare
        if offer_sdp == "crash":
            raise ZeroDivisionError
        if offer_sdp.startswith("bad"):
            self._check_empty()
            raise RoomError("bad_sdp", "line 1 cannot be read")
        for id in [id for id, person in self.people.items() if person["identity"] == identity]:
            self._put_out(id, "replaced")
        id = f"p{next(self.node.ids)}"
        others = [self._entry(other) for other in self.people]
        self.people[id] = {"identity": identity, "name": name, "role": role, "rights": set(rights), "lost": False}
        self.tell(ParticipantJoined(self._entry(id)), but=id)
        return Joined(id, f"answer to {offer_sdp}", others, [SLOT])

    def offer(self, id: str, sdp: str, tracks: Sequence[DeclaredTrack], now: float) -> tuple[str, list[SlotInfo]]:
        self._person(id)
        if sdp.startswith("bad"):
            raise RoomError("bad_sdp", "line 1 cannot be read")
        return f"answer to {sdp}", [SLOT]

    def mute(self, id: str, mid: str, muted: bool, now: float) -> None:
        self._person(id)
        if mid != "0":
            raise RoomError("unknown_mid", "Nothing is published there.")
        self.calls.append(("mute", id, mid, muted))
        self.tell(ParticipantUpdated(self._entry(id)), but=id)

    def prefer(self, id: str, participants: Sequence[str], now: float) -> None:
        self._person(id)
        self.calls.append(("prefer", id, tuple(participants)))

    def remove(self, id: str, target: str, now: float) -> None:
        if Right.MODERATE not in self._person(id)["rights"]:
            raise RoomError("forbidden", "Removing people needs the right moderate.")
        self._person(target)
        self.expel(target, "removed", now)

    def expel(self, id: str, reason: ByeReason, now: float) -> None:
        if id in self.people:
            self._put_out(id, reason)
            self._check_empty()

    def _put_out(self, id: str, reason: ByeReason) -> None:
        del self.people[id]
        self.node.notify([id], Bye(reason))
        self.tell(ParticipantLeft(id, reason))

    def leave(self, id: str, reason: str, now: float) -> None:
        if self.people.pop(id, None) is not None:
            self.tell(ParticipantLeft(id, reason))
            self._check_empty()

    def close(self, reason: ByeReason, now: float) -> None:
        people, self.people = self.people, {}
        self.node.notify(list(people), Bye(reason))
        self._check_empty()

    def signalling_lost(self, id: str, now: float) -> None:
        self._signalling(id, True)

    def signalling_regained(self, id: str, now: float) -> None:
        self._signalling(id, False)

    def participants_for(self, id: str) -> list[ParticipantInfo]:
        self._person(id)
        return [self._entry(other) for other in self.people if other != id]

    def slots_for(self, id: str) -> list[SlotInfo]:
        self._person(id)
        return [SLOT]

    def tell(self, event: RoomEvent, but: str = "") -> None:
        self.node.notify([id for id in self.people if id != but], event)

    def _signalling(self, id: str, lost: bool) -> None:
        if id in self.people and self.people[id]["lost"] != lost:
            self.people[id]["lost"] = lost
            self.tell(ParticipantUpdated(self._entry(id)), but=id)

    def _person(self, id: str) -> dict[str, Any]:
        if id not in self.people:
            raise RoomError("unknown_participant", "Nobody with this id is in the room.")
        return self.people[id]

    def _entry(self, id: str) -> ParticipantInfo:
        person = self.people[id]
        connection = ConnectionState.RECONNECTING if person["lost"] else ConnectionState.CONNECTED
        return ParticipantInfo(id, person["name"], person["role"], connection, [])

    def _check_empty(self) -> None:
        if not self.people:
            self.node.all_rooms.pop(self.name, None)


SLOT = SlotInfo("2", "audio", None, None, None)


class FakeNode:
    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.all_rooms: dict[str, FakeRoom] = {}
        self.ids = iter(range(1, 1_000_000))

    def room(self, name: str) -> FakeRoom:
        return self.all_rooms.setdefault(name, FakeRoom(name, self))

    def find(self, name: str) -> FakeRoom | None:
        return self.all_rooms.get(name)

    @property
    def rooms(self) -> list[FakeRoom]:
        return list(self.all_rooms.values())

    @property
    def participants(self) -> int:
        return sum(len(room) for room in self.rooms)

    def close(self, reason: ByeReason, now: float) -> None:
        for room in self.rooms:
            room.close(reason, now)


class FakeRelay:
    """Remembers what it was told of tokens."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def serve(self, jti: str) -> None:
        self.told.append(("serve", jti))

    def refuse(self, jti: str) -> None:
        self.told.append(("refuse", jti))


class FakeLink:
    """Remembers frames (decoded) and the close code."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.code: CloseCode | None = None

    def send(self, frame: bytes) -> None:
        if self.code is None:
            self.frames.append(json.loads(frame))

    def close(self, code: CloseCode) -> None:
        self.code = self.code or code

    @property
    def last(self) -> dict[str, Any]:
        return self.frames[-1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]


class Client:
    """A peer on one socket: `say` sends a request and returns the last frame that came back."""

    def __init__(self, world: "World", address: str = "") -> None:
        self.world = world
        self.link = FakeLink()
        self.conversation = Conversation(world.calls, world.metrics, self.link, address)
        self.ids = iter(range(1, 1_000_000))
        self.joined: dict[str, Any] = {}
        world.clients.append(self)

    def say(self, type: str, **fields: Any) -> dict[str, Any]:
        self.send(json.dumps({"type": type, "id": next(self.ids), **fields}))
        return self.link.last

    def send(self, text: str | bytes) -> None:
        self.conversation.receive(text, self.world.now)

    def join(self, name: str = "Amina", **claims: Any) -> dict[str, Any]:
        self.joined = self.say("join", token=self.world.token(name, **claims), offer="v=0", tracks=[])
        return self.joined

    def lose(self) -> None:
        self.conversation.lost(self.world.now)

    def resume(self, other: "Client", seen: int = 0) -> dict[str, Any]:
        """Carry on the session that ``other`` joined."""
        self.joined = other.joined
        before = len(self.link.frames)
        self.say("resume", session=other.joined["session"], secret=other.joined["secret"], seen=seen)
        return self.link.frames[before]


class World:
    """Calls on a fake node, in fake time. ``now`` is monotonic, the wall clock runs beside it."""

    def __init__(
        self, revocations: Revocations, limits: RoomLimits | None = None, observer: CallObserver | None = None
    ) -> None:
        self.now = 1000.0
        self.relay = FakeRelay()
        self.observer = observer
        quotas = RoomQuotas(limits or RoomLimits(rooms=100, rooms_per_address=0, people_per_address=0))
        self.sessions = Sessions(quotas, TokenUse(self.relay), observer, clock=lambda: self.now)
        self.node = FakeNode(self.sessions.deliver)
        self.metrics = Metrics()
        self.tokens = TokenAuthority(b"k" * 32, revocations)
        self.clients: list[Client] = []
        self.calls = Calls(
            self.node,  # type: ignore[arg-type]
            self.sessions,
            self.tokens,
            self.metrics,
            is_reserved=lambda room: VisitRooms(self.tokens.key).read(room) is not None,
            wall_clock=lambda: self.wall,
        )

    @property
    def wall(self) -> float:
        return WALL + self.now - 1000.0

    def token(self, name: str, room: str = "room", role: str = "guest", **more: Any) -> str:
        rights = ["publish", "subscribe", *(["moderate"] if role == "host" else [])]
        token, _ = self.tokens.issue(
            **{"room": room, "identity": name, "name": name, "role": role, "rights": rights, "now": self.wall} | more
        )
        return token

    def client(self, address: str = "") -> Client:
        return Client(self, address)

    def joined(self, name: str = "Amina", *, address: str = "", **claims: Any) -> Client:
        client = self.client(address)
        assert client.join(name, **claims)["type"] == "joined"
        return client

    def advance(self, seconds: float) -> None:
        """Let time pass in steps as short as the server's own."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.calls.sweep(self.now)
