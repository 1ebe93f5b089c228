"""Token buckets in fake time."""

import pytest

from backplane.ratelimit import KeyedBuckets, TokenBucket, address_key


def test_a_bucket_allows_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=5)
    assert [bucket.allow(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not bucket.allow(100.4)
    assert bucket.allow(100.5)
    assert not bucket.allow(100.6)


def test_a_rest_fills_the_bucket_but_not_beyond_its_burst() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=5)
    bucket.allow(0)
    assert sum(bucket.allow(1000) for _ in range(10)) == 5


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=1)
    assert bucket.allow(100)
    assert not bucket.allow(50)
    assert bucket.allow(51)


def test_dear_requests_cost_more() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=10)
    assert bucket.allow(0, cost=8)
    assert not bucket.allow(0, cost=3)
    assert bucket.allow(0, cost=2)


def test_keys_do_not_share_and_are_bounded() -> None:
    buckets = KeyedBuckets(rate_per_s=1, burst=1, max_keys=100)
    assert buckets.allow("a", 0)
    assert not buckets.allow("a", 0)
    assert buckets.allow("b", 0)
    for number in range(1000):
        buckets.allow(str(number), 0)
    assert len(buckets) == 100


@pytest.mark.parametrize(
    "address, key",
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_one_subscriber_is_one_key(address: str, key: str) -> None:
    assert address_key(address) == key
