"""Bounded fuzz of TURN requests; the long run is `python tests/fuzz/turn_fuzz.py --minutes N`."""

import random

from tests.fuzz.turn_fuzz import fuzz_one, fuzz_parse


def test_no_sequence_of_mutated_requests_breaks_the_server(rng: random.Random) -> None:
    succeeded = sum(fuzz_one(rng) for _ in range(150))
    assert succeeded > 500, "mutations must leave enough alive to reach the transactions"


def test_a_mutated_message_is_refused_or_read_soundly(rng: random.Random) -> None:
    survivors = sum(fuzz_parse(rng) for _ in range(3000))
    assert survivors > 100
