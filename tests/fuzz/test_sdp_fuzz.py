"""Bounded fuzz of offers; the long run is `python tests/fuzz/sdp_fuzz.py --minutes N`."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc.sdp import SdpError, parse
from tests.fuzz.sdp_fuzz import fuzz_one, seeds


def test_mutated_offers_are_refused_or_answered_soundly(rng: random.Random) -> None:
    corpus = seeds()
    answered = sum(fuzz_one(corpus, rng) for _ in range(1500))
    assert answered > 100, "mutations must leave enough alive to test answers"


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        parse(text)


LINE = st.tuples(st.sampled_from("vosiuepcbtrzkamxyz="), st.text(max_size=40)).map("=".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=30))
def test_any_lines_parse_or_are_refused(lines: list[str]) -> None:
    text = "\r\n".join(["v=0", "o=- 1 1 IN IP4 0.0.0.0", *lines])
    # what does not parse must end in SdpError, and nothing else may come out
    with contextlib.suppress(SdpError):
        assert parse(text).session_id == "1"
