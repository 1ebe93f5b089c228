"""SRTP senders and receivers of both profiles, and libsrtp beside them, for the SRTP tests."""

from collections.abc import Callable

import pytest
from pylibsrtp import Policy, Session

from rtc._wire import Srtp

CM, GCM = 1, 7
PROFILES = pytest.mark.parametrize(
    "profile", [pytest.param(CM, id="AES_CM_128_HMAC_SHA1_80"), pytest.param(GCM, id="AEAD_AES_128_GCM")]
)
TAG = {CM: 10, GCM: 16}
KEY = bytes(range(16))
WINDOW = 1024


@pytest.fixture(params=["fastest", "openssl"], autouse=True)
def crypto(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with intel-ipsec-mb, where it is installed, and with OpenSSL alone."""
    monkeypatch.setenv("WADUD_CRYPTO", request.param)
    return str(request.param)


def salt(profile: int) -> bytes:
    return bytes(range(100, 112 if profile == GCM else 114))


def pair(profile: int) -> tuple[Srtp, Srtp]:
    """A sender and its receiver."""
    return Srtp(profile, KEY, salt(profile)), Srtp(profile, KEY, salt(profile))


def rtp(sequence: int, *, ssrc: int = 0x1234, payload: bytes = b"some payload") -> bytes:
    return b"\x80\x60" + (sequence & 0xFFFF).to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big") + payload


def rtcp(ssrc: int = 0x1234, body: bytes = bytes(20)) -> bytes:
    """A sender report without blocks."""
    return b"\x80\xc8\x00\x06" + ssrc.to_bytes(4, "big") + body


def refusal(unprotect: Callable[[bytes], bytes], packet: bytes) -> str:
    with pytest.raises(ValueError) as raised:
        unprotect(packet)
    return str(raised.value)


def libsrtp(profile: int, ssrc_type: int) -> Session:
    number = Policy.SRTP_PROFILE_AEAD_AES_128_GCM if profile == GCM else Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    policy = Policy(key=KEY + salt(profile), ssrc_type=ssrc_type, srtp_profile=number)
    policy.window_size = WINDOW
    return Session(policy)
