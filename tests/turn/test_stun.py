"""The Python codec of STUN against RFC 5769, against the one in C, and against the traps of RFC 8489."""

import contextlib
import hashlib
import ipaddress
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc._wire import stun_verify
from tests.turn import reference_stun
from tests.vectors import stun as vectors
from turn import attributes as names
from turn.stun import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MessageClass,
    StunError,
    build,
    decode_address,
    decode_error,
    decode_xor_address,
    encode_address,
    encode_address_error,
    encode_error,
    encode_unknown,
    encode_xor_address,
    parse,
    verify,
)

TRANSACTION = bytes(range(12))
KEY = b"0123456789abcdef"


def message(*attributes: tuple[int, bytes], **options: object) -> bytes:
    return build(names.ALLOCATE, MessageClass.REQUEST, TRANSACTION, attributes, **options)  # type: ignore[arg-type]


# --- RFC 5769 ---


def test_request_of_rfc_5769_section_2_1() -> None:
    parsed = parse(vectors.REQUEST_2_1)
    assert (parsed.method, parsed.kind) == (names.BINDING, MessageClass.REQUEST)
    assert parsed.transaction == vectors.TRANSACTION
    assert parsed.attributes[names.USERNAME] == b"evtj:h6vY"
    assert parsed.attributes[names.SOFTWARE] == b"STUN test client"
    assert parsed.fingerprinted
    assert parsed.unknown == ()
    assert verify(parsed, vectors.PASSWORD)
    assert not verify(parsed, vectors.PASSWORD[:-1])


@pytest.mark.parametrize(
    "response, host",
    [
        pytest.param(vectors.RESPONSE_2_2, "192.0.2.1", id="IPv4 of section 2.2"),
        pytest.param(vectors.RESPONSE_2_3, "2001:db8:1234:5678:11:2233:4455:6677", id="IPv6 of section 2.3"),
    ],
)
def test_response_of_rfc_5769(response: bytes, host: str) -> None:
    parsed = parse(response)
    assert parsed.kind is MessageClass.SUCCESS
    assert verify(parsed, vectors.PASSWORD)
    value = parsed.attributes[names.XOR_MAPPED_ADDRESS]
    assert decode_xor_address(value, parsed.transaction) == (host, 32853)
    assert encode_xor_address((host, 32853), parsed.transaction) == value


def test_long_term_request_of_rfc_5769_section_2_4() -> None:
    parsed = parse(vectors.REQUEST_2_4)
    key = hashlib.md5(":".join(vectors.LONG_TERM_2_4).encode()).digest()
    assert parsed.attributes[names.USERNAME].decode() == vectors.LONG_TERM_2_4[0]
    assert not parsed.fingerprinted
    assert verify(parsed, key)


def test_a_built_message_is_the_one_of_rfc_5769_section_2_4() -> None:
    user, realm, _ = vectors.LONG_TERM_2_4
    key = hashlib.md5(":".join(vectors.LONG_TERM_2_4).encode()).digest()
    parsed = parse(vectors.REQUEST_2_4)
    built = build(
        names.BINDING,
        MessageClass.REQUEST,
        parsed.transaction,
        [
            (names.USERNAME, user.encode()),
            (names.NONCE, b"f//499k954d6OL34oL9FSTvy64sA"),
            (names.REALM, realm.encode()),
        ],
        key=key,
    )
    assert built == vectors.REQUEST_2_4


# --- what a parser must not be talked into ---


def test_the_first_of_two_equal_attributes_counts() -> None:
    parsed = parse(message((names.LIFETIME, b"\0\0\0\1"), (names.LIFETIME, b"\0\0\0\2")))
    assert parsed.attributes[names.LIFETIME] == b"\0\0\0\1"


def test_attributes_after_the_integrity_are_not_read() -> None:
    whole = parse(message((names.USERNAME, b"me"), key=KEY))
    tail = struct.pack("!HHI", names.LIFETIME, 4, 0) + struct.pack("!HH", 0x7777, 0)
    data = whole.data[:2] + struct.pack("!H", len(whole.data) - 20 + len(tail)) + whole.data[4:] + tail
    parsed = parse(data)
    assert names.LIFETIME not in parsed.attributes
    assert parsed.unknown == ()
    assert verify(parsed, KEY)


def test_unknown_attributes_that_must_be_understood_are_listed_once() -> None:
    parsed = parse(message((0x7FFF, b""), (0x7FFF, b"x"), (0x0099, b"abc"), (0xBFFF, b"optional")))
    assert parsed.unknown == (0x7FFF, 0x0099)


def test_peers_may_be_repeated() -> None:
    addresses = [("192.0.2.1", 1), ("2001:db8::1", 65535), ("192.0.2.1", 0)]
    values = [(names.XOR_PEER_ADDRESS, encode_xor_address(each, TRANSACTION)) for each in addresses]
    assert parse(message(*values)).addresses() == addresses
    assert parse(message()).addresses() == []
    with pytest.raises(StunError):
        parse(message(*values, (names.XOR_PEER_ADDRESS, b"\0\1\0\0"))).addresses()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(message()[:19], id="half a header"),
        pytest.param(b"\x40" + message()[1:], id="ChannelData"),
        pytest.param(message()[:4] + b"\0\0\0\0" + message()[8:], id="another cookie"),
        pytest.param(message() + b"\0", id="a byte too many"),
        pytest.param(message((1, b"1234"))[:-4], id="shorter than its length"),
        pytest.param(message()[:2] + b"\0\3" + message()[4:] + b"abc", id="a length that is no multiple of four"),
        pytest.param(message()[:2] + b"\0\4" + message()[4:] + b"\0\1\0\1", id="a value behind the end"),
        pytest.param(message((names.MESSAGE_INTEGRITY, b"short")), id="an integrity of five bytes"),
        pytest.param(message((names.FINGERPRINT, b"\0\0\0\0")), id="a wrong fingerprint"),
        pytest.param(message((names.FINGERPRINT, b"")), id="an empty fingerprint"),
        pytest.param(message(*[(0x8099, b"")] * (MAX_ATTRIBUTES + 1)), id="too many attributes"),
        pytest.param(message((0x8099, bytes(MAX_BYTES))), id="too long"),
    ],
)
def test_what_is_not_a_message_is_refused(data: bytes) -> None:
    with pytest.raises(StunError):
        parse(data)


def test_nothing_may_follow_the_fingerprint() -> None:
    whole = message(fingerprint=True)
    assert parse(whole).fingerprinted
    for tail in ((0x8099, b""), (names.FINGERPRINT, b"\0\0\0\0"), (names.MESSAGE_INTEGRITY, bytes(20))):
        encoded = struct.pack("!HH", tail[0], len(tail[1])) + tail[1]
        # the fingerprint is made for the longer length, so that only its place is wrong
        longer = build(names.ALLOCATE, MessageClass.REQUEST, TRANSACTION, [(0x8028, b"\0\0\0\0"), tail])
        crc = struct.pack("!I", zlib.crc32(longer[:20]) ^ 0x5354554E)
        with pytest.raises(StunError, match="last"):
            parse(longer[:24] + crc + encoded)


@pytest.mark.parametrize("position", [0, 1, 2, 8, 19, 20, 24, 30])
def test_a_changed_bit_breaks_the_integrity(position: int) -> None:
    data = bytearray(message((names.USERNAME, b"somebody"), key=KEY))
    data[position] ^= 1
    with contextlib.suppress(StunError):
        assert not verify(parse(bytes(data)), KEY)


def test_a_message_without_integrity_is_never_verified() -> None:
    assert not verify(parse(message((names.USERNAME, b"me"))), KEY)


def test_codes_are_coded_as_the_rfc_draws_them() -> None:
    assert encode_error(437) == b"\0\0\x04\x25Allocation Mismatch"
    assert decode_error(encode_error(508)) == 508
    assert encode_address_error(names.FAMILY_IPV6, 440)[:4] == b"\x02\0\x04\x28"
    assert encode_unknown([0x7FFF, 3]) == b"\x7f\xff\0\3"
    with pytest.raises(StunError):
        decode_error(b"\0\0\x09\x01")


@pytest.mark.parametrize("host, port", [("example.org", 1), ("1.2.3", 1), ("::1%lo", 1), ("192.0.2.1", 65536)])
def test_what_is_no_address_is_not_encoded(host: str, port: int) -> None:
    with pytest.raises(ValueError):
        encode_address((host, port))
    with pytest.raises(ValueError):
        encode_xor_address((host, port), TRANSACTION)


# --- round trips ---

ADDRESSES = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
PLAIN = st.integers(0, 0xFFFF).filter(
    lambda kind: kind not in (names.MESSAGE_INTEGRITY, names.FINGERPRINT, names.XOR_PEER_ADDRESS)
)


@settings(deadline=None)
@given(
    method=st.integers(0, 0xFFF),
    kind=st.sampled_from(MessageClass),
    transaction=st.binary(min_size=12, max_size=12),
    values=st.dictionaries(PLAIN, st.binary(max_size=60), max_size=20),
    key=st.none() | st.binary(min_size=1, max_size=40),
    fingerprint=st.booleans(),
)
def test_every_message_comes_back_as_it_was_built(
    method: int, kind: MessageClass, transaction: bytes, values: dict[int, bytes], key: bytes | None, fingerprint: bool
) -> None:
    data = build(method, kind, transaction, values.items(), key=key, fingerprint=fingerprint)
    parsed = parse(data)
    assert (parsed.method, parsed.kind, parsed.transaction) == (method, kind, transaction)
    assert {number: value for number, value in parsed.attributes.items() if number in values} == values
    assert parsed.fingerprinted == fingerprint
    assert (parsed.integrity_at > 0) == (key is not None)
    if key is not None:
        assert verify(parsed, key)
        assert not verify(parsed, key + b"?")
        with contextlib.suppress(ValueError):  # of some attributes it looks at the value, too
            assert stun_verify(data, key), "the codec in C thinks the same"


@given(ADDRESSES, st.binary(min_size=12, max_size=12))
def test_every_address_comes_back_as_it_was_given(address: tuple[str, int], transaction: bytes) -> None:
    for found in (
        decode_address(encode_address(address)),
        decode_xor_address(encode_xor_address(address, transaction), transaction),
    ):
        assert (ipaddress.ip_address(found[0]), found[1]) == (ipaddress.ip_address(address[0]), address[1])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_stun_error(data: bytes) -> None:
    with contextlib.suppress(StunError):
        assert parse(data).data == data


@given(
    st.binary(max_size=300),
    st.lists(
        st.tuples(st.sampled_from((0x6, 0x8, 0x12, 0x14, 0x7777, 0x8028, 0x9999)), st.binary(max_size=24)), max_size=6
    ),
    st.booleans(),
    st.integers(0, 400),
    st.integers(0, 255),
)
def test_c_and_its_oracle_agree_on_every_message(
    noise: bytes, attributes: list[tuple[int, bytes]], fingerprint: bool, at: int, flip: int
) -> None:
    key = noise[:16]
    arguments = (3, MessageClass.REQUEST, bytes(range(12)), attributes)
    built = build(*arguments, key=key, fingerprint=fingerprint)
    assert built == reference_stun.build(*arguments, key=key, fingerprint=fingerprint)
    changed = bytearray(built)
    changed[at % len(changed)] ^= flip
    for data in (built, bytes(changed), noise, built + noise[: len(noise) & ~3], built[:20] + noise):
        try:
            expected = reference_stun.parse(data)
        except StunError:
            with pytest.raises(StunError):
                parse(data)
        else:
            assert parse(data) == expected
            assert verify(expected, key) == reference_stun.verify(expected, key)
