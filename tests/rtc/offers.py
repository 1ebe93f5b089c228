"""Offers from tests/rtc/sdp and a negotiation with everything of ours fixed."""

import itertools
import random
from collections.abc import Callable, Collection
from pathlib import Path

from rtc.ice import host_candidates, make_credentials
from rtc.sdp import parse
from rtc.sdp_answer import Line, LocalSide, Negotiated, Policy, negotiate

FOLDER = Path(__file__).parent / "sdp"
NAMES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.sdp"))
LOCAL = LocalSide(4242, bytes(range(32)), host_candidates([("192.0.2.9", 5000)]), "wadud-test")


def load(name: str) -> str:
    return (FOLDER / name).read_bytes().decode()


def session(browser: str) -> list[str]:
    """The offers of one RTCPeerConnection, in order."""
    return [path.read_bytes().decode() for path in sorted((FOLDER / f"{browser}_session").glob("*.sdp"))]


def counting_ssrc(start: int = 1000) -> Callable[[], int]:
    return itertools.count(start).__next__


def answer(
    text: str,
    *,
    previous: Negotiated | None = None,
    publishing: Collection[str] = (),
    may_subscribe: bool = True,
    policy: Policy | None = None,
    new_ssrc: Callable[[], int] | None = None,
) -> Negotiated:
    chance = random.Random(str(previous.version if previous else 0))
    return negotiate(
        parse(text),
        LOCAL,
        new_credentials=lambda: make_credentials(0, chance.randbytes),
        new_ssrc=new_ssrc or counting_ssrc(1000 * (1 + (previous.version if previous else 0))),
        publishing=publishing,
        may_subscribe=may_subscribe,
        previous=previous,
        policy=policy,
    )


def line_of(negotiated: Negotiated, mid: str) -> Line:
    return next(line for line in negotiated.lines if line.mid == mid)


def section(text: str, index: int) -> str:
    """One m-line's part of a description, CRLF as LF."""
    return "m=" + text.replace("\r\n", "\n").split("\nm=")[1 + index].rstrip("\n") + "\n"
