"""Names of people and of rooms."""

import random
import unicodedata

import pytest

from signalling.names import MAX_NAME, clean_name
from signalling.room_names import RoomNames


@pytest.mark.parametrize(
    "typed, shown",
    [
        ("Amina", "Amina"),
        ("  Dr   Amina\tKhan \n", "Dr Amina Khan"),
        ("بلال احمد", "بلال احمد"),
        ("می‌خواهم", "می‌خواهم"),
        ("e\u0301", "\u00e9"),
        ("Ami\u0000na\u001b[31m\u007f", "Amina[31m"),
        ("Ami\u202ena\u2066x\u2069", "Aminax"),
        ("a\u2028b\u2029c\u00a0d", "a b c d"),
        ("\ud800Amina", "Amina"),
        ("👩‍⚕️", "👩‍⚕️"),
        ("", ""),
        ("   ", ""),
        ("\u200d\u200b\u200f", ""),
        ("\u0301\u0301", ""),
    ],
)
def test_a_name_keeps_what_people_write_and_nothing_else(typed: str, shown: str) -> None:
    assert clean_name(typed) == shown


def test_long_names_are_cut() -> None:
    assert len(clean_name("x" * 10_000)) == MAX_NAME


def test_marks_do_not_pile_up() -> None:
    assert len(clean_name("a" + "\u0353" * 100)) < 10


def test_cleaning_twice_changes_nothing(rng: random.Random) -> None:
    for _ in range(500):
        name = clean_name("".join(chr(rng.choice([rng.randrange(0x3000), rng.randrange(0x11000)])) for _ in range(40)))
        assert clean_name(name) == name
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def test_room_names_are_long_different_and_recognised() -> None:
    names = RoomNames(b"k" * 32)
    made = {names.new() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(name) == 22 and names.ours(name) for name in made)


def test_room_names_of_another_key_or_with_a_slip_are_not_ours() -> None:
    names = RoomNames(b"k" * 32)
    name = names.new()
    assert not RoomNames(b"l" * 32).ours(name)
    for position in range(len(name)):
        slip = "a" if name[position] != "a" else "b"
        assert not names.ours(name[:position] + slip + name[position + 1 :])
    for wrong in ("", "x", name.upper(), name + "a", "../" + name, "é" * 22):
        assert not names.ours(wrong)
