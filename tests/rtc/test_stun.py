"""STUN in C against RFC 5769, against aioice, and against the traps of RFC 8489."""

import hashlib
import hmac
import ipaddress
import struct
import zlib
from typing import Any

import pytest
from aioice import stun as oracle
from hypothesis import given
from hypothesis import strategies as st

from rtc._wire import stun_check, stun_error, stun_parse, stun_success, stun_verify
from tests.rtc.checks import answer
from tests.vectors import stun as vectors

COOKIE = 0x2112A442
TRANSACTION = bytes(range(12))
PASSWORD = b"0123456789abcdef0123456789abcdef"
USERNAME, INTEGRITY, REALM, PRIORITY = 0x0006, 0x0008, 0x0014, 0x0024
USE_CANDIDATE, CONTROLLED, CONTROLLING, FINGERPRINT = 0x0025, 0x8029, 0x802A, 0x8028
BINDING_REQUEST, BINDING_SUCCESS, BINDING_ERROR = 0x0001, 0x0101, 0x0111


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(*attributes: bytes, kind: int = BINDING_REQUEST, length: int | None = None, cookie: int = COOKIE) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body) if length is None else length, cookie) + TRANSACTION + body


def with_integrity(data: bytes, key: bytes = PASSWORD) -> bytes:
    """By the oracle's arithmetic: the length counts the attribute that is being computed, none after it."""
    mac = oracle.message_integrity(data, key)
    return oracle.set_body_length(data, len(data) - 20 + 24) + attribute(INTEGRITY, mac)


def with_fingerprint(data: bytes) -> bytes:
    data = oracle.set_body_length(data, len(data) - 20 + 8)
    return data + attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(data) ^ 0x5354554E))


def check(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "priority": 1_853_824_767,
        "controlling": True,
        "tiebreaker": 2**63 + 5,
        "use_candidate": True,
    }
    return stun_check(TRANSACTION, b"server:client", PASSWORD, **(values | changes))


# --- RFC 5769 ---


def test_request_of_rfc_5769_section_2_1() -> None:
    parsed = stun_parse(vectors.REQUEST_2_1)
    assert (parsed["method"], parsed["class"], parsed["transaction"]) == (1, "request", vectors.TRANSACTION)
    assert parsed["username"] == b"evtj:h6vY"
    assert parsed["priority"] == 0x6E0001FF
    assert (parsed["controlled"], parsed["controlling"], parsed["tiebreaker"]) == (True, False, 0x932FF9B151263B36)
    assert parsed["fingerprint"]
    assert parsed["unknown"] == []
    assert stun_verify(vectors.REQUEST_2_1, vectors.PASSWORD)
    assert not stun_verify(vectors.REQUEST_2_1, vectors.PASSWORD[:-1])


@pytest.mark.parametrize(
    "response, host",
    [
        pytest.param(vectors.RESPONSE_2_2, "192.0.2.1", id="IPv4 of section 2.2"),
        pytest.param(vectors.RESPONSE_2_3, "2001:db8:1234:5678:11:2233:4455:6677", id="IPv6 of section 2.3"),
    ],
)
def test_response_of_rfc_5769(response: bytes, host: str) -> None:
    parsed = stun_parse(response)
    assert (parsed["class"], parsed["mapped"], parsed["fingerprint"]) == ("success", (host, 32853), True)
    assert stun_verify(response, vectors.PASSWORD)
    # ours carries no SOFTWARE; the attribute under test must be equal byte by byte
    ours = stun_success(vectors.TRANSACTION, (host, 32853), vectors.PASSWORD)
    size = 12 if ":" not in host else 24
    assert ours[20 : 20 + size] == response[36 : 36 + size]


def test_request_of_rfc_5769_section_2_4_with_long_term_credentials() -> None:
    parsed = stun_parse(vectors.REQUEST_2_4)
    assert parsed["username"].decode() == vectors.LONG_TERM_2_4[0]
    assert not parsed["fingerprint"]
    assert stun_verify(vectors.REQUEST_2_4, hashlib.md5(":".join(vectors.LONG_TERM_2_4).encode()).digest())


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(vectors.REQUEST_2_1, id="request"),
        pytest.param(vectors.RESPONSE_2_2, id="IPv4 response"),
        pytest.param(vectors.RESPONSE_2_3, id="IPv6 response"),
    ],
)
def test_message_with_any_byte_changed_is_refused(vector: bytes) -> None:
    for at in range(len(vector)):
        forged = bytearray(vector)
        forged[at] ^= 1
        if at in (len(vector) - 8, len(vector) - 7):  # no FINGERPRINT any more, but an optional attribute after the MAC
            assert not stun_parse(bytes(forged))["fingerprint"]
            continue
        with pytest.raises(ValueError):
            stun_parse(bytes(forged))


def test_message_without_fingerprint_and_a_changed_byte_does_not_verify() -> None:
    key = hashlib.md5(":".join(vectors.LONG_TERM_2_4).encode()).digest()
    for at in range(len(vectors.REQUEST_2_4)):
        forged = bytearray(vectors.REQUEST_2_4)
        forged[at] ^= 1
        try:
            assert not stun_verify(bytes(forged), key)
        except ValueError:
            continue


# --- a second opinion ---


def test_aioice_reads_our_check() -> None:
    theirs = answer(check(), password=PASSWORD.decode())
    assert theirs.message_method is oracle.Method.BINDING
    assert theirs.message_class is oracle.Class.REQUEST
    assert theirs.transaction_id == TRANSACTION
    assert theirs.attributes["USERNAME"] == "server:client"
    assert theirs.attributes["PRIORITY"] == 1_853_824_767
    assert theirs.attributes["ICE-CONTROLLING"] == 2**63 + 5
    assert "USE-CANDIDATE" in theirs.attributes
    assert "FINGERPRINT" in theirs.attributes


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("use_candidate", [True, False])
def test_our_check_is_read_back_and_verified(controlling: bool, use_candidate: bool) -> None:
    data = check(controlling=controlling, use_candidate=use_candidate)
    parsed = stun_parse(data)
    assert (parsed["controlling"], parsed["controlled"]) == (controlling, not controlling)
    assert parsed["use_candidate"] is use_candidate
    assert (parsed["username"], parsed["tiebreaker"]) == (b"server:client", 2**63 + 5)
    assert stun_verify(data, PASSWORD)


def test_we_read_the_check_of_aioice() -> None:
    theirs = oracle.Message(oracle.Method.BINDING, oracle.Class.REQUEST, TRANSACTION)
    theirs.attributes["USERNAME"] = "a:bc"
    theirs.attributes["PRIORITY"] = 7
    theirs.attributes["ICE-CONTROLLED"] = 9
    theirs.add_message_integrity(PASSWORD)
    theirs.add_fingerprint()
    parsed = stun_parse(bytes(theirs))
    assert (parsed["username"], parsed["priority"], parsed["tiebreaker"]) == (b"a:bc", 7, 9)
    assert stun_verify(bytes(theirs), PASSWORD)


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 1), ("255.255.255.255", 65535), ("2001:db8::1", 3478), ("fe80::1", 0)]
)
def test_aioice_reads_the_address_that_we_write(address: tuple[str, int]) -> None:
    data = stun_success(TRANSACTION, address, PASSWORD)
    assert answer(data, password=PASSWORD.decode()).attributes["XOR-MAPPED-ADDRESS"] == address
    assert stun_parse(data)["mapped"] == address


def test_ipv4_address_mapped_to_ipv6_is_the_ipv4_address() -> None:
    assert stun_parse(stun_success(TRANSACTION, ("::ffff:192.0.2.1", 7), PASSWORD))["mapped"] == ("192.0.2.1", 7)


def test_ipv6_address_is_masked_with_the_transaction() -> None:
    """RFC 8489 section 14.2: the cookie masks only the first four bytes."""
    zero = stun_success(TRANSACTION, ("::", 0), PASSWORD)
    assert zero[20 + 4 + 4 : 20 + 4 + 20] == struct.pack("!I", COOKIE) + TRANSACTION


def test_aioice_reads_our_error() -> None:
    data = stun_error(TRANSACTION, 420, "Unknown Attribute", [0x7777, 0x7778, 0x7779], PASSWORD)
    theirs = answer(data, password=PASSWORD.decode())
    assert theirs.attributes["ERROR-CODE"] == (420, "Unknown Attribute")
    parsed = stun_parse(data)
    assert (parsed["class"], parsed["error_code"]) == ("error", 420)
    assert attribute(0x000A, bytes.fromhex("777777787779")) in data


def test_answers_are_never_larger_than_the_smallest_check_of_a_browser() -> None:
    smallest = stun_check(
        TRANSACTION, b"abcd:efgh", PASSWORD, priority=1, controlling=True, tiebreaker=1, use_candidate=False
    )
    assert len(stun_success(TRANSACTION, ("2001:db8::1", 1), PASSWORD)) <= len(smallest)
    assert len(stun_success(TRANSACTION, ("192.0.2.1", 1), PASSWORD)) <= len(smallest)
    assert len(stun_error(TRANSACTION, 487, "", [], PASSWORD)) <= len(smallest)


@given(st.binary(min_size=12, max_size=12), st.ip_addresses().map(str), st.integers(0, 65535), st.binary(max_size=70))
def test_any_address_is_read_back_under_any_password(transaction: bytes, host: str, port: int, key: bytes) -> None:
    data = stun_success(transaction, (host, port), key)
    parsed = stun_parse(data)
    assert (parsed["transaction"], parsed["fingerprint"]) == (transaction, True)
    address = ipaddress.ip_address(host)
    expected = getattr(address, "ipv4_mapped", None) or address
    assert (ipaddress.ip_address(parsed["mapped"][0]), parsed["mapped"][1]) == (expected, port)
    assert stun_verify(data, key)


# --- integrity and fingerprint ---


@pytest.mark.parametrize("length_in_the_header", [0, 24, 32])
def test_length_is_adjusted_while_the_integrity_is_computed(length_in_the_header: int) -> None:
    """RFC 8489 section 14.5: a MAC over the header as it came, with FINGERPRINT counted, is a wrong one."""
    body = attribute(USERNAME, b"a:b")
    right = with_fingerprint(with_integrity(message(body)))
    assert stun_verify(right, PASSWORD)
    wrong_length = len(body) + length_in_the_header
    mac = hmac.digest(PASSWORD, message(body, length=wrong_length), "sha1")
    data = with_fingerprint(message(body, attribute(INTEGRITY, mac)))
    assert stun_verify(data, PASSWORD) is (length_in_the_header == 24)


def test_attributes_after_the_integrity_are_ignored() -> None:
    data = with_integrity(message(attribute(USERNAME, b"a:b"), attribute(PRIORITY, bytes(3) + b"\1")))
    late = b"".join(
        [
            attribute(USERNAME, b"evil"),
            attribute(PRIORITY, b"\xff" * 4),
            attribute(USE_CANDIDATE, b""),
            attribute(CONTROLLING, bytes(8)),
            attribute(0x7777, b"unknown"),
            attribute(INTEGRITY, bytes(20)),
        ]
    )
    data = oracle.set_body_length(data, len(data) - 20 + len(late)) + late
    parsed = stun_parse(data)
    assert (parsed["username"], parsed["priority"], parsed["use_candidate"]) == (b"a:b", 1, False)
    assert (parsed["controlling"], parsed["unknown"]) == (False, [])
    assert stun_verify(data, PASSWORD)


def test_message_without_integrity_never_verifies() -> None:
    data = with_fingerprint(message(attribute(USERNAME, b"a:b")))
    assert not stun_parse(data)["integrity"]
    assert not stun_verify(data, PASSWORD)
    assert not stun_verify(data, b"")


@pytest.mark.parametrize("size", [0, 16, 19, 21, 32])
def test_integrity_of_a_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        stun_parse(message(attribute(INTEGRITY, bytes(size))))


def test_wrong_fingerprint_is_refused() -> None:
    data = bytearray(with_fingerprint(message(attribute(USERNAME, b"a:b"))))
    data[-1] ^= 1
    with pytest.raises(ValueError):
        stun_parse(bytes(data))


def test_fingerprint_that_is_not_last_is_refused() -> None:
    """Even when it counts what follows it."""
    data = message(length=16)
    data += attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(data) ^ 0x5354554E)) + attribute(REALM, b"late")
    with pytest.raises(ValueError):
        stun_parse(data)


# --- attributes ---


def test_first_of_duplicated_attributes_wins() -> None:
    data = message(
        attribute(USERNAME, b"first"),
        attribute(USERNAME, b"second"),
        attribute(PRIORITY, b"\0\0\0\1"),
        attribute(PRIORITY, b"\0\0\0\2"),
        attribute(CONTROLLED, b"\1" * 8),
        attribute(CONTROLLED, b"\2" * 8),
    )
    parsed = stun_parse(data)
    assert (parsed["username"], parsed["priority"], parsed["tiebreaker"]) == (b"first", 1, 0x0101010101010101)


def test_unknown_attributes_are_listed_only_when_their_comprehension_is_required() -> None:
    data = message(
        attribute(0x7FFF, b"x"), attribute(0xC001, b"optional"), attribute(0x0031, b""), attribute(0x8055, b"")
    )
    assert stun_parse(data)["unknown"] == [0x7FFF, 0x0031]


def test_list_of_unknown_attributes_is_bounded() -> None:
    data = message(*(attribute(0x7000 + number, b"") for number in range(100)))
    assert stun_parse(data)["unknown"] == [0x7000 + number for number in range(8)]


@pytest.mark.parametrize(
    "kind, value",
    [
        pytest.param(PRIORITY, bytes(3), id="PRIORITY of 3 bytes"),
        pytest.param(CONTROLLING, bytes(4), id="ICE-CONTROLLING of 4 bytes"),
        pytest.param(USERNAME, bytes(514), id="USERNAME of 514 bytes"),
        pytest.param(0x0009, bytes(3), id="ERROR-CODE of 3 bytes"),
        pytest.param(0x0020, bytes(8), id="address of family 0"),
        pytest.param(0x0020, b"\0\2" + bytes(6), id="IPv6 of 4 bytes"),
        pytest.param(0x0020, b"\0\1" + bytes(18), id="IPv4 of 16 bytes"),
    ],
)
def test_attribute_of_an_impossible_size_is_refused(kind: int, value: bytes) -> None:
    with pytest.raises(ValueError):
        stun_parse(message(attribute(kind, value)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(message()[:19], id="header cut"),
        pytest.param(message(cookie=COOKIE ^ 1), id="wrong cookie"),
        pytest.param(message(length=4), id="length too large"),
        pytest.param(message(attribute(REALM, b"abcd"), length=4), id="length too small"),
        pytest.param(message(length=2) + b"\0\0", id="length not a multiple of four"),
        pytest.param(message(struct.pack("!HH", USERNAME, 5) + b"four"), id="attribute past the end"),
        pytest.param(message(struct.pack("!HH", USERNAME, 0xFFFF) + b"four"), id="attribute of 65535 bytes"),
        pytest.param(b"\x40" + message()[1:], id="first two bits set"),
        pytest.param(message(attribute(REALM, bytes(2000))), id="larger than any check"),
    ],
)
def test_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        stun_parse(data)


@pytest.mark.parametrize(
    "kind, method, name",
    [(0x0011, 1, "indication"), (0x0003, 3, "request"), (0x0113, 3, "error"), (0x3FEF, 0xFFF, "success")],
)
def test_method_and_class_are_interleaved_bits(kind: int, method: int, name: str) -> None:
    """RFC 8489 section 5."""
    parsed = stun_parse(message(kind=kind))
    assert (parsed["method"], parsed["class"]) == (method, name)
