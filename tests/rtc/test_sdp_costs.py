"""A session description as large as may be is read in a few milliseconds, whatever its lines repeat: the event loop
stands still meanwhile."""

from contextlib import suppress
from time import thread_time

import pytest

from rtc import sdp
from rtc.sdp import SdpError, parse

MOST_CPU_S = 0.06
HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
ALL = " ".join(str(number) for number in range(128))


def media(count: int, lines: str, formats: str = "0") -> str:
    ice = f"a=ice-ufrag:aaaa\r\na=ice-pwd:{'a' * 22}\r\n"
    return "".join(
        f"m=audio 9 UDP/TLS/RTP/SAVPF {formats}\r\na=mid:{number}\r\n{ice}{lines}" for number in range(count)
    )


def each(line: str, count: int) -> str:
    return "".join(line.format(number) + "\r\n" for number in range(1, count + 1))


@pytest.mark.parametrize(
    "text",
    [
        ("a=fingerprint:sha-999 " + ":".join(["AA"] * 1350) + "\r\n") * 16 + media(64, ""),
        ("a=fingerprint:sha-256 " + ":".join(["AA"] * 32) + "\r\n") * 16 + media(64, ""),
        ("a=setup:" + "x" * 4000 + "\r\n") * 40 + media(64, ""),
        media(3, ("a=ssrc-group:FID " + "1 " * 2000 + "\r\n") * 15),
        media(12, each("a=ssrc:{} x", 1000)),
        media(20, each("a=rtcp-fb:* k{}", 60) + each("a=rtcp-fb:{} z", 127), ALL),
        media(10, each("a=fmtp:{} " + "a=b;" * 30, 100), ALL),
        media(1, each("a=fmtp:{} " + ";" * 4000, 40), ALL),
        media(20, each("a=rtpmap:{} " + "a" * 3000 + "/90000", 3), ALL),
        media(12, each("a=extmap:{} u" + " " * 50, 200)),
        ("a=group:BUNDLE " + "1 " * 2000 + "\r\n") * 40 + media(1, ""),
        "a=x\r\n" * 1000 + "b=\r\n" * 15_000,
    ],
    ids=lambda text: text[:24],
)
def test_the_largest_description_is_read_soon(text: str) -> None:
    began = thread_time()
    with suppress(SdpError):
        parse((HEAD + text)[: sdp.MAX_BYTES])
    assert thread_time() - began < MOST_CPU_S
