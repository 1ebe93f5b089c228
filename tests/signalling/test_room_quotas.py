"""What people without an account may take, in fake time."""

from uuid import UUID

import pytest

from booking.visits.room_names import VisitRoom, VisitRooms
from signalling.codes import ErrorCode, SignallingError
from signalling.room_quotas import LEFT_TO_RESERVED, LOOK_S, SITE_FACTOR, RoomLimits, RoomQuotas
from tests.signalling.fakes import World

A, B = "198.51.100.7", "2001:db8::"


class Room:
    """That of one person, until it is emptied."""

    def __init__(self, in_use: bool) -> None:
        self.in_use = in_use
        self.people = 1

    def __len__(self) -> int:
        return self.people


class Rooms:
    """Rooms by name, and who uses them."""

    def __init__(self, limits: RoomLimits) -> None:
        self.named: dict[str, Room] = {}
        self.quotas = RoomQuotas(limits)
        self.now = 1000.0

    def begin(self, name: str, address: str, *, used: bool = True) -> None:
        """SignallingError when that is refused."""
        self.quotas.check_new_room(address)
        room = self.named[name] = Room(used)
        self.quotas.entered(name, room, f"session in {name}", address, self.now, new=True)

    def end(self, name: str) -> None:
        self.named.pop(name).people = 0

    def after(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.quotas.sweep(self.now)


def refused(rooms: Rooms, address: str) -> ErrorCode:
    with pytest.raises(SignallingError) as caught:
        rooms.quotas.check_new_room(address)
    return caught.value.code


def test_an_address_has_so_many_rooms_and_others_have_theirs() -> None:
    rooms = Rooms(RoomLimits(rooms=10, rooms_per_address=3))
    for number in range(3):
        rooms.begin(f"a{number}", A)
    assert refused(rooms, A) is ErrorCode.TOO_MANY_ROOMS
    rooms.begin("b", B)
    rooms.end("a1")
    rooms.begin("a3", A)
    assert refused(rooms, A) is ErrorCode.TOO_MANY_ROOMS


def test_a_site_of_many_networks_has_so_many_too() -> None:
    rooms = Rooms(RoomLimits(rooms=100, rooms_per_address=2))
    for number in range(2 * SITE_FACTOR):
        rooms.begin(f"r{number}", f"2001:db8:1:{number:x}::")
    assert refused(rooms, "2001:db8:1:ffff::") is ErrorCode.TOO_MANY_ROOMS
    rooms.begin("elsewhere", "2001:db8:2::")
    rooms.end("r0")
    rooms.begin("again", "2001:db8:1:ffff::")


def test_all_addresses_together_have_so_many() -> None:
    rooms = Rooms(RoomLimits(rooms=4, rooms_per_address=0))
    for number in range(4):
        rooms.begin(f"r{number}", f"198.51.100.{number}")
    assert refused(rooms, A) is ErrorCode.ROOM_FULL
    rooms.end("r2")
    rooms.begin("r4", A)


def test_a_room_whose_name_is_used_again_counts_for_who_began_it_last() -> None:
    rooms = Rooms(RoomLimits(rooms_per_address=1))
    rooms.begin("r", A)
    rooms.end("r")
    rooms.begin("r", B)
    rooms.begin("s", A)
    assert refused(rooms, A) is refused(rooms, B) is ErrorCode.TOO_MANY_ROOMS
    assert rooms.quotas.rooms == 2


def test_a_room_that_nobody_uses_is_let_go_and_one_in_use_is_kept() -> None:
    rooms = Rooms(RoomLimits(idle_s=60))
    rooms.begin("waiting", A, used=False)
    rooms.begin("talking", A)
    assert rooms.after(60 - LOOK_S) == []
    assert rooms.after(LOOK_S) == ["waiting"]
    rooms.named["talking"].in_use = False
    assert rooms.after(60 - LOOK_S) == ["waiting"], "as long as it is there"
    rooms.end("waiting")
    rooms.named["talking"].in_use = True
    assert rooms.after(LOOK_S) == []
    rooms.named["talking"].in_use = False
    assert rooms.after(59) == []
    assert rooms.after(LOOK_S) == ["talking"]


def test_rooms_stay_when_the_operator_wants_them_to() -> None:
    rooms = Rooms(RoomLimits(idle_s=0))
    rooms.begin("waiting", A, used=False)
    assert rooms.after(1e6) == []


def test_what_is_over_is_not_remembered() -> None:
    rooms = Rooms(RoomLimits())
    for number in range(20):
        rooms.begin(f"r{number}", f"198.51.100.{number}")
        rooms.quotas.left(f"session in r{number}")
        rooms.quotas.left(f"session in r{number}")
        rooms.end(f"r{number}")
    rooms.after(LOOK_S)
    quotas = rooms.quotas
    assert (quotas.rooms, quotas._rooms_of, quotas._people, quotas._people_of) == (0, {}, {}, {})


@pytest.fixture
def narrow(world: World) -> World:
    return World(world.tokens.revocations, RoomLimits(rooms=6, rooms_per_address=2, people_per_address=3, idle_s=60))


def visit_room(world: World, number: int) -> str:
    return VisitRooms(world.calls.tokens.key).name(VisitRoom(1000, UUID(int=number), 1))


def test_who_has_begun_as_many_rooms_as_one_may_joins_others_still(narrow: World) -> None:
    narrow.joined("Amina", address=A, room="one")
    narrow.joined("Amina", address=A, room="two")
    assert narrow.client(A).join("Amina", room="three")["code"] == "too_many_rooms"
    narrow.joined("Bilal", address=B, room="three")
    narrow.joined("Amina", address=A, room="three")
    assert narrow.client(A).join("Zara", room="three")["code"] == "too_many_people"
    narrow.joined("Zara", address=B, room="three")


def test_places_come_free_when_people_leave_or_come_anew(narrow: World) -> None:
    clients = [narrow.joined("Amina", address=A, room=room) for room in ("one", "two")]
    clients[0].say("leave")
    narrow.joined("Amina", address=A, room="three")
    narrow.joined("Amina", address=A, room="three")  # on another device: the first is put out
    narrow.joined("Bilal", address=A, room="three")
    assert narrow.client(A).join("Zara", room="three")["code"] == "too_many_people"
    clients[1].lose()
    assert narrow.client(A).join("Zara", room="three")["code"] == "too_many_people", "they may come back"
    narrow.advance(31)
    narrow.joined("Zara", address=A, room="three")


def test_rooms_of_visits_are_never_refused_for_it(narrow: World) -> None:
    for number in range(6):
        narrow.joined("Amina", address=f"198.51.100.{number}", room=f"room {number}")
    assert narrow.client(B).join("Amina", room="one more")["code"] == "room_full"
    for number in range(10):
        narrow.joined(f"patient-{number}", address="198.51.100.0", room=visit_room(narrow, number))
    assert narrow.calls.quotas.rooms == 6
    assert narrow.node.all_rooms["room 0"].spare == LEFT_TO_RESERVED
    assert narrow.node.all_rooms[visit_room(narrow, 0)].spare == 0


def test_a_room_that_nobody_uses_ends_but_not_that_of_a_visit(narrow: World) -> None:
    idle, visit = narrow.joined("Amina", address=A, room="idle"), narrow.joined("Zara", room=visit_room(narrow, 1))
    talking = narrow.joined("Bilal", address=A, room="talking")
    for name, room in narrow.node.all_rooms.items():
        room.in_use = name == "talking"
    narrow.advance(60 + LOOK_S)
    assert idle.link.last == {"type": "bye", "seq": 1, "reason": "connection_lost"}
    assert idle.link.code == 4410
    assert visit.link.of("bye") == talking.link.of("bye") == []
    assert "idle" not in narrow.node.all_rooms
    assert b"wadud_rooms_let_go_total 1.0" in narrow.metrics.exposition()
    narrow.joined("Amina", address=A, room="another")
