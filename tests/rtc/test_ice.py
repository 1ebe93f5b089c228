"""Credentials, candidates, restarts."""

import random
from itertools import pairwise

import pytest

from rtc.ice import MAX_WORKERS, IceCredentials, host_candidates, is_restart, make_credentials, of_generation, worker_of


def test_ufrag_names_its_worker(rng: random.Random) -> None:
    for worker in (0, 1, 63, 64, MAX_WORKERS - 1):
        assert worker_of(make_credentials(worker, rng.randbytes).ufrag) == worker


def test_foreign_ufrags_name_nobody() -> None:
    assert worker_of("abcd") is None
    assert worker_of("!!12345678") is None


def test_credentials_are_long_enough_for_rfc_8445_section_5_3(rng: random.Random) -> None:
    credentials = make_credentials(0, rng.randbytes)
    assert len(credentials.ufrag) >= 4
    assert len(credentials.password) >= 22
    assert make_credentials(0, rng.randbytes) != credentials


def test_worker_number_must_fit() -> None:
    with pytest.raises(ValueError):
        make_credentials(MAX_WORKERS, bytes)


def test_first_address_has_the_highest_priority() -> None:
    first, second = host_candidates([("192.0.2.1", 5000), ("2001:db8::1", 5001)])
    assert first.priority > second.priority
    assert str(first) == "1 1 udp 2130706431 192.0.2.1 5000 typ host"
    assert str(second).endswith(" 2001:db8::1 5001 typ host")


@pytest.mark.parametrize("address, port", [("example.org", 5000), ("192.0.2.1", 0), ("192.0.2.1", 65536)])
def test_candidates_must_be_addresses_and_ports(address: str, port: int) -> None:
    with pytest.raises(ValueError):
        host_candidates([(address, port)])


def test_candidates_are_cheaper_with_each_restart() -> None:
    wifi, mobile = 10, 900  # Chromium's costs of a phone's networks
    candidates = host_candidates([("192.0.2.1", 5000)])
    costs = [of_generation(candidates, restarts)[0].network_cost or 0 for restarts in range(120)]
    assert costs[1] + mobile < costs[0] + wifi
    assert all(later < earlier or later == earlier == 0 for earlier, later in pairwise(costs))
    assert costs[-1] == 0


def test_restart_needs_both_credentials_new() -> None:
    old = IceCredentials("abcd", "p" * 22)
    assert not is_restart(old, old)
    assert is_restart(old, IceCredentials("efgh", "q" * 22))
    with pytest.raises(ValueError):
        is_restart(old, IceCredentials("efgh", "p" * 22))
    with pytest.raises(ValueError):
        is_restart(old, IceCredentials("abcd", "q" * 22))
