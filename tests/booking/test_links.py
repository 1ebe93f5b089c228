"""Signed join links and the names of visits' rooms."""

import base64
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backplane.signed import Signed
from booking.links.link import BadLink, Link, Links, Seat, Window, link_language, link_path
from booking.links.passes import GESTURE_LIFETIME, PASS_LIFETIME, Pass, Passes
from booking.visits.room_names import VisitRoom, VisitRooms, identity, read_identity
from signalling.room_names import RoomNames

START = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
END = START + timedelta(minutes=20)
LINK = Link(
    tenant=1000,
    appointment=UUID("019aa5e0-0000-7000-8000-000000000001"),
    seat=Seat.PATIENT,
    holder=UUID("019aa5e0-0000-7000-8000-0000000000aa"),
    epoch=3,
    opens_at=START - timedelta(minutes=30),
    closes_at=END + timedelta(minutes=60),
    language="ur",
)
MASTER = b"m" * 32
PASS = Pass(1000, LINK.appointment, Seat.PATIENT, LINK.holder, 3, UUID(int=7), START + PASS_LIFETIME)


@pytest.fixture
def links() -> Links:
    return Links({0: MASTER})


@pytest.mark.parametrize("seat", list(Seat))
@pytest.mark.parametrize("language", ["en", "fil"])
def test_a_link_says_what_was_signed(links: Links, seat: Seat, language: str) -> None:
    link = replace(LINK, seat=seat, language=language)
    token = links.sign(link)
    assert len(token) == 94
    assert links.read(token) == link
    assert link_path("alshifa", token) == f"/j/alshifa#{token}"


def test_every_altered_byte_is_noticed(links: Links) -> None:
    content = base64.urlsafe_b64decode(links.sign(LINK) + "==")
    for at in range(len(content)):
        altered = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(BadLink):
            links.read(base64.urlsafe_b64encode(altered).decode().rstrip("="))


def test_another_spelling_of_the_same_bytes_is_no_link(links: Links) -> None:
    token = links.sign(LINK)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    assert base64.urlsafe_b64decode(other + "==") == base64.urlsafe_b64decode(token + "==")
    with pytest.raises(BadLink):
        links.read(other)


@pytest.mark.parametrize("length", [0, 1, 93, 94, 95, 4096])
def test_what_is_no_link_is_refused(links: Links, rng: random.Random, length: int) -> None:
    for alphabet in ("AB-_09", "\x00é🙂=+/ "):
        with pytest.raises(BadLink):
            links.read("".join(rng.choice(alphabet) for _ in range(length)))


def test_keys_rotate_without_killing_older_links(links: Links) -> None:
    rotated = Links({0: MASTER, 1: b"n" * 32}, current=1)
    assert rotated.read(links.sign(LINK)) == LINK
    with pytest.raises(BadLink):
        links.read(rotated.sign(LINK))


def test_no_kind_of_signed_value_passes_for_another(links: Links) -> None:
    passes = Passes({0: MASTER})
    token = links.sign(LINK)
    given = passes.sign(PASS)
    assert passes.read(token, START) is None
    assert not passes.gestured(token, token, START)
    for other in (given, passes.gesture(token, START)):
        with pytest.raises(BadLink):
            links.read(other)
    # the same bytes under another purpose: were the keys the same, this would be a link
    same = Signed({0: MASTER}, 0, "wadud visit pass", 1, ">BI16s16sIII3s")
    with pytest.raises(BadLink):
        links.read(same.sign(1, 1, b"a" * 16, b"b" * 16, 1, 1, 1, b"en"))


def test_a_pass_ends_by_itself() -> None:
    passes = Passes({0: MASTER})
    assert passes.read(passes.sign(PASS), START) == PASS
    assert passes.read(passes.sign(PASS), PASS.expires_at) is None
    assert passes.read("", START) is None


def test_a_gesture_is_of_one_link_and_one_moment(links: Links) -> None:
    passes = Passes({0: MASTER})
    token, other = links.sign(LINK), links.sign(replace(LINK, epoch=4))
    gesture = passes.gesture(token, START)
    assert passes.gestured(gesture, token, START + GESTURE_LIFETIME - timedelta(seconds=1))
    assert not passes.gestured(gesture, token, START + GESTURE_LIFETIME)
    assert not passes.gestured(gesture, token, START - timedelta(minutes=1))
    assert not passes.gestured(gesture, other, START)
    assert not passes.gestured("", token, START)


@pytest.mark.parametrize(
    ("locale", "language"), [("ur-PK", "ur"), ("en", "en"), ("AR_SA", "ar"), ("", "en"), ("x", "en")]
)
def test_a_link_carries_the_language_of_a_locale(locale: str, language: str) -> None:
    assert link_language(locale) == language


@pytest.mark.parametrize("change", [{"language": "en-GB"}, {"language": ""}, {"tenant": 1 << 32}])
def test_what_does_not_fit_is_refused_when_it_is_signed(links: Links, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="fit"):
        links.sign(replace(LINK, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minutes", "state"),
    [(-31, "early"), (-30, "open"), (0, "open"), (79, "open"), (80, "over")],
)
def test_the_window_opens_half_an_hour_before_and_closes_an_hour_after(minutes: int, state: str) -> None:
    assert Window.around(START, END).state(START + timedelta(minutes=minutes)) == state


def test_a_doctor_who_calls_again_opens_the_window_again() -> None:
    late = END + timedelta(hours=3)
    assert Window.around(START, END, late + timedelta(minutes=30)).state(late) == "open"
    assert Window.around(START, END, START).state(END + timedelta(minutes=30)) == "open"


def test_a_visits_room_name_says_whose_it_is() -> None:
    rooms = VisitRooms(MASTER)
    visit = VisitRoom(1000, LINK.appointment, 3)
    name = rooms.name(visit)
    assert rooms.read(name) == visit
    assert rooms.name(replace(visit, epoch=4)) != name
    assert VisitRooms(b"o" * 32).read(name) is None
    assert rooms.read(name[:-1] + ("a" if name[-1] != "a" else "e")) is None
    assert rooms.read("v-") is None


def test_knowing_a_visits_room_gives_no_token_for_it() -> None:
    assert not RoomNames(MASTER).ours(VisitRooms(MASTER).name(VisitRoom(1, LINK.appointment, 1)))
    assert VisitRooms(MASTER).read(RoomNames(MASTER).new()) is None


def test_identities_go_there_and_back() -> None:
    for seat in Seat:
        assert read_identity(identity(seat, LINK.holder)) == (seat, LINK.holder)
    assert read_identity("Ab3dE6gH9jKl") is None
