"""Transport-wide feedback: what the receiver in C writes, decoded by a decoder of our own written from the draft
(draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1), and what the reader in C makes of hostile blocks.
"""

import random
from dataclasses import dataclass

import pytest

from rtc._wire import rtcp_parse, twcc_feedback

SENDER, MEDIA = 0x11111111, 0x22222222
TICK_US, REFERENCE_US = 250, 64_000
SPAN = 512  # sequence numbers that are remembered


@dataclass(frozen=True)
class Feedback:
    base: int
    number: int
    reference: int  # of 64 ms
    arrivals: dict[int, int | None]  # sequence number -> us since the reference clock's wrap, None = not received


def decode(data: bytes) -> Feedback:
    """Every symbol, every delta, and that nothing but padding is left over."""
    assert data[0] >> 6 == 2
    assert (data[0] & 31, data[1]) == (15, 205)
    assert len(data) == 4 * (int.from_bytes(data[2:4], "big") + 1)
    if data[0] & 0x20:
        assert 1 <= data[-1] <= 3
        assert not any(data[-data[-1] : -1])
        data = data[: -data[-1]]
    assert (int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")) == (SENDER, MEDIA)
    base, count = int.from_bytes(data[12:14], "big"), int.from_bytes(data[14:16], "big")
    reference = int.from_bytes(data[16:19], "big")
    at, symbols = 20, list[int]()
    while len(symbols) < count:
        chunk = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13] * (chunk & 0x1FFF)
        elif not chunk & 0x4000:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
        else:
            symbols += [chunk >> shift & 3 for shift in range(12, -2, -2)]
    assert not any(symbols[count:]), "a chunk may run past the count only with zeros"
    arrivals: dict[int, int | None] = {}
    clock = reference * REFERENCE_US
    for number, symbol in enumerate(symbols[:count]):
        arrival = None
        if symbol == 1:
            clock += data[at] * TICK_US
            at, arrival = at + 1, clock
        elif symbol == 2:
            clock += int.from_bytes(data[at : at + 2], "big", signed=True) * TICK_US
            at, arrival = at + 2, clock
        assert symbol != 3
        arrivals[(base + number) % 65536] = arrival
    assert at == len(data), "no bytes are left"
    return Feedback(base, data[19], reference, arrivals)


def feedback(arrivals: list[tuple[int, int]]) -> list[Feedback]:
    blocks = twcc_feedback(arrivals, SENDER, MEDIA)
    for data in blocks:
        assert len(data) <= 1200
        parsed = rtcp_parse(data)[0]["twcc"]
        decoded = decode(data)
        received = sum(at is not None for at in decoded.arrivals.values())
        assert parsed == {
            "base": decoded.base,
            "count": len(decoded.arrivals),
            "received": received,
            "feedback": decoded.number,
        }
    return [decode(data) for data in blocks]


def merged(blocks: list[Feedback]) -> dict[int, int | None]:
    result: dict[int, int | None] = {}
    for one in blocks:
        result |= one.arrivals
    return result


def assert_reported(arrivals: list[tuple[int, int]]) -> list[Feedback]:
    """Every arrival stands in the feedback, to a tick, and nothing else is said to have arrived."""
    blocks = feedback(arrivals)
    reported = merged(blocks)
    expected = {sequence: at for sequence, at in reversed(arrivals)}  # the first arrival of a sequence number counts
    wrap = 2**24 * REFERENCE_US
    assert {sequence for sequence, at in reported.items() if at is not None} == set(expected)
    for sequence, at in expected.items():
        told = reported[sequence]
        assert told is not None
        difference = (told - at + wrap // 2) % wrap - wrap // 2
        assert -TICK_US <= difference <= TICK_US, (sequence, at, told)
    return blocks


def test_one_packet() -> None:
    (block,) = assert_reported([(1000, 640_000)])
    assert block == Feedback(1000, 0, 10, {1000: 640_000})


def test_steady_stream_in_order() -> None:
    (block,) = assert_reported([(sequence, 10_000_000 + sequence * 2000) for sequence in range(100)])
    assert len(block.arrivals) == 100


def test_gaps_are_told_as_not_received() -> None:
    (block,) = assert_reported([(10, 64_000), (12, 65_000), (40, 66_000)])
    assert [sequence for sequence, at in block.arrivals.items() if at is None] == [11, *range(13, 40)]


def test_feedback_ends_with_a_packet_received() -> None:
    for blocks in (assert_reported([(1, 64_000), (200, 65_000)]), assert_reported([(1, 64_000), (9, 64_250)])):
        assert list(blocks[-1].arrivals.values())[-1] is not None


def test_packet_that_arrived_before_its_forerunner_has_a_negative_delta() -> None:
    (block,) = assert_reported([(3, 1_000_000), (4, 999_000)])
    assert block.arrivals == {3: 1_000_000, 4: 999_000}


def test_packets_from_before_the_first_of_all_are_not_told() -> None:
    assert list(merged(feedback([(3, 1_000_000), (1, 1_005_000), (2, 1_003_000), (4, 1_006_000)]))) == [3, 4]


def test_packets_reordered_inside_the_feedback() -> None:
    (block,) = assert_reported([(1, 1_000_000), (4, 1_001_000), (2, 1_009_000), (3, 1_002_000)])
    assert list(block.arrivals) == [1, 2, 3, 4]


def test_sequence_numbers_wrap() -> None:
    (block,) = assert_reported(
        [(sequence % 65536, 64_000 + sequence * 100) for sequence in (65530, 65533, 65535, 65536, 65540)]
    )
    assert (block.base, list(block.arrivals)[-1]) == (65530, 4)


def test_sequence_numbers_wrap_inside_a_gap() -> None:
    (block,) = assert_reported([(65500, 64_000), (100, 65_000)])
    assert len(block.arrivals) == 137


@pytest.mark.parametrize("gap_us", [8_193_000, 20_000_000, 2**24 * REFERENCE_US // 2])
def test_pause_that_no_delta_can_say_begins_another_block(gap_us: int) -> None:
    blocks = assert_reported([(1, 64_000), (2, 64_500), (3, 64_000 + gap_us), (4, 65_000 + gap_us)])
    assert [list(block.arrivals) for block in blocks] == [[1, 2], [3, 4]]
    assert [block.number for block in blocks] == [0, 1]


def test_longest_delta_stays_in_one_block() -> None:
    (block,) = assert_reported([(1, 64_000), (2, 64_000 + 32_767 * TICK_US)])
    assert len(block.arrivals) == 2


def test_loss_between_two_blocks_is_told() -> None:
    """The first packet of a block may be a lost one; were it left out, nobody would ever hear of it."""
    blocks = assert_reported([(1, 64_000), (3, 64_000 + 20_000_000)])
    assert merged(blocks) == {1: 64_000, 2: None, 3: 64_000 + 20_000_000}


def test_gap_longer_than_a_block_between_two_blocks_does_not_end_the_feedback() -> None:
    assert_reported([(1, 64_000), (2, 30_000_000), (450, 60_000_000), (451, 60_001_000)])


def test_reference_time_wraps_at_24_bits() -> None:
    wrap = 2**24 * REFERENCE_US
    before, after = assert_reported([(1, wrap - 1000), (2, wrap + 20_000_000)])
    assert (before.reference, after.reference) == (2**24 - 1, 20_000_000 // REFERENCE_US)
    (across,) = assert_reported([(1, wrap - 1000), (2, wrap + 1000)])
    assert across.reference == 2**24 - 1


def test_first_arrival_of_a_duplicate_counts() -> None:
    assert_reported([(1, 64_000), (2, 64_500), (1, 70_000), (2, 71_000)])


def test_more_than_the_span_forgets_the_oldest() -> None:
    arrivals = [(sequence, 64_000 + sequence * 500) for sequence in range(SPAN + 100)]
    assert set(merged(feedback(arrivals))) == set(range(100, SPAN + 100))


@pytest.mark.parametrize("leap", [SPAN - 1, SPAN, SPAN + 1, 5000, 32767])
def test_leap_ahead_reports_the_newest(leap: int) -> None:
    blocks = feedback([(1, 64_000), (2, 65_000), (2 + leap, 66_000)])
    assert merged(blocks)[2 + leap] is not None


def test_packet_from_before_the_last_leap_is_ignored() -> None:
    blocks = feedback([(5000, 64_000), (10, 65_000), (5001, 66_000)])
    assert set(merged(blocks)) == {5000, 5001}


def test_dense_random_arrivals_are_told_to_a_tick(rng: random.Random) -> None:
    for _ in range(150):
        base, clock = rng.randrange(65536), rng.randrange(1, 2**24 * REFERENCE_US)
        loss, jitter = rng.choice((0, 0.02, 0.5, 0.95)), rng.choice((0, 300, 5000, 60_000))
        arrivals = []
        for number in range(rng.randrange(1, SPAN)):
            clock += rng.choice((0, 100, 250, 1000, 20_000))
            if number == 0 or rng.random() >= loss:
                arrivals.append(((base + number) % 65536, max(1, clock + rng.randint(-jitter, jitter))))
        assert_reported(arrivals)


# --- reading ---


def block(count: int, chunks: bytes, deltas: bytes = b"", *, base: int = 0) -> bytes:
    body = (
        SENDER.to_bytes(4, "big")
        + MEDIA.to_bytes(4, "big")
        + base.to_bytes(2, "big")
        + count.to_bytes(2, "big")
        + bytes(4)
        + chunks
        + deltas
    )
    padding = -len(body) % 4
    body += bytes(padding - 1) + bytes([padding]) if padding else b""
    return bytes([0x8F | (0x20 if padding else 0), 205]) + (len(body) // 4).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    "data, received",
    [
        pytest.param(block(5, b"\x20\x05", bytes(5)), 5, id="run of small deltas"),
        pytest.param(block(5, b"\x40\x05", bytes(10)), 5, id="run of large deltas"),
        pytest.param(block(8191, b"\x1f\xff"), 0, id="longest run"),
        pytest.param(block(14, b"\xbf\xff", bytes(14)), 14, id="one-bit vector"),
        pytest.param(block(7, b"\xd5\x55", bytes(7)), 7, id="two-bit vector"),
        pytest.param(block(3, b"\xea\x80", bytes(6)), 3, id="vector longer than the count, zeros after it"),
        pytest.param(block(3, b"\xbf\xff", bytes(3)), 3, id="vector longer than the count, ones after it"),
        pytest.param(block(0, b""), 0, id="count of nothing"),
        pytest.param(block(2, b"\x20\x02", bytes(2), base=65535), 2, id="base at the wrap"),
    ],
)
def test_block_is_read(data: bytes, received: int) -> None:
    assert rtcp_parse(data)[0]["twcc"]["received"] == received


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(block(6, b"\x20\x05\x20", bytes(5)), id="deltas missing"),
        pytest.param(block(100, b"\x20\x05", bytes(5)), id="count larger than the chunks"),
        pytest.param(block(65535, b"\x3f\xff", bytes(8)), id="thousands of deltas in no bytes"),
        pytest.param(block(5, b"\x40\x05", bytes(6)), id="large deltas cut"),
        pytest.param(block(5, b"\x60\x05", bytes(40)), id="reserved symbol in a run"),
        pytest.param(block(7, b"\xff\xff", bytes(40)), id="reserved symbol in a vector"),
        pytest.param(block(5, b"\x20\x00" * 6, bytes(4)), id="run of nothing"),
    ],
)
def test_impossible_block_is_refused(data: bytes) -> None:
    assert "twcc" not in rtcp_parse(data)[0]


def test_block_cut_anywhere_is_refused() -> None:
    (data,) = twcc_feedback([(sequence, 64_000 + sequence * 300) for sequence in range(40)], SENDER, MEDIA)
    data = bytes([data[0] & ~0x20]) + data[1:]
    for words in range(1, len(data) // 4 - 1):
        cut = data[:2] + words.to_bytes(2, "big") + data[4 : 4 * (words + 1)]
        assert "twcc" not in rtcp_parse(cut)[0]
