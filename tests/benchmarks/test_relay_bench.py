"""The load client of the relay's benchmark sees what is there: packets both ways, counted right, from the right sender.

Against Debian's coturn where it is installed and against the bare loop. Figures of speed are not judged here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import coturn
from benchmarks.relay import SHAPES, picture, verdicts
from benchmarks.relay_client import BUCKETS, NOBODY, Load, RelayClient, Request, Traffic
from benchmarks.relay_limit import BareRelay
from benchmarks.relay_rounds import Row, Turn, most_without_loss, ratio
from benchmarks.relay_server import CREDENTIALS
from benchmarks.relay_sessions import Memory, Pace, measure_memory, measure_pace

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 5
LIGHT = Load(seconds=0.2, rate=4000, timed=True)  # packets per second: nothing to any server
needs_coturn = pytest.mark.skipif(not coturn.is_installed(), reason="coturn is not installed")
needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="server and load client need a core each")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[coturn.CoturnRelay]:
    relay = coturn.CoturnRelay()
    relay.start(0, tmp_path_factory.mktemp("coturn"))
    yield relay
    relay.stop()


def came_whole(traffic: Traffic) -> None:
    assert traffic.received == traffic.sent
    assert min(traffic.sent) > 0
    for name in ("alien", "stale", "other", "send_errors"):
        assert traffic[name] == 0, name


@needs_coturn
@pytest.mark.parametrize("together", [True, False])
def test_packets_arrive_both_ways_through_a_foreign_server(server: coturn.CoturnRelay, together: bool) -> None:
    client = server.client(CLIENTS, gro=together)
    try:
        opened = client.transact(Request.OPEN)
        assert opened["done"] == opened["challenged"] == CLIENTS
        assert opened["requests"] == 3 * CLIENTS
        _, _, relayed = zip(*(client.addresses(number) for number in range(CLIENTS)))
        assert len(set(relayed)) == CLIENTS
        traffic = client.run(replace(LIGHT, gso=together))
        came_whole(traffic)
        assert sum(traffic.sent) == 8 * traffic["bursts"]
        assert sum(traffic.latencies[0]) + traffic.latencies[1] == sum(traffic.received)
        assert traffic.latency_us(0.5) > 0
        assert client.transact(Request.RENEW)["requests"] == 2 * CLIENTS
        assert client.transact(Request.CLOSE)["done"] == CLIENTS
    finally:
        client.close()


def test_what_does_not_arrive_is_lost(tmp_path: Path) -> None:
    loop = BareRelay(1)
    loop.start(0, tmp_path)
    client = loop.client(1)
    try:
        loop.admit(client)
        loop.stop()
        traffic = client.run(LIGHT)
        assert traffic.received == (0, 0)
        assert traffic.loss == 1
    finally:
        client.close()
        loop.stop()


@needs_coturn
def test_a_wrong_password_is_refused_and_said(server: coturn.CoturnRelay) -> None:
    client = RelayClient(server.address, (CREDENTIALS[0], "wrong"), 1)
    try:
        with pytest.raises(ConnectionError, match="'last_error': 401"):
            client.transact(Request.OPEN)
    finally:
        client.close()


@pytest.mark.parametrize("together", [True, False])
def test_the_bare_loop_carries_the_same_load(tmp_path: Path, together: bool) -> None:
    loop = BareRelay(CLIENTS)
    loop.start(0, tmp_path)
    client = loop.client(CLIENTS, gro=together)
    try:
        loop.admit(client)
        came_whole(client.run(replace(LIGHT, gso=together)))
        came_whole(client.run(Load(seconds=0.1, window=64, burst=3, gso=together)))
    finally:
        client.close()
        loop.stop()


def test_the_direct_way_needs_no_server() -> None:
    client = RelayClient(NOBODY, clients=CLIENTS)
    try:
        client.go_direct()
        came_whole(client.run(LIGHT))
    finally:
        client.close()


@needs_coturn
@needs_two_cores
def test_a_small_run_measures_server_and_limit_and_says_so(tmp_path: Path) -> None:
    result, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    options = ["--quick", "--share", "--without-ours", "--peer", "coturn", "--seconds", "0.1", "--no-sessions"]
    command = [sys.executable, "benchmarks/relay.py", *options, "--json", str(result), "--plot", str(plot)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert [row["server"] for row in rows] == ["coturn", "limit", "limit+nap"]
    assert all(row["full_per_cpu_s"] > 0 and row["same_per_cpu_s"] > 0 for row in rows)
    assert not any("strayed" in remark for row in rows for remark in row["remarks"])
    assert "100 clients, bursts, coturn" in plot.read_text()


@needs_coturn
def test_allocations_are_counted_and_their_memory_seen() -> None:
    (pace,) = measure_pace([coturn.CoturnRelay], 40, 1, lambda _: None)
    assert len(pace.per_cpu_s) == 1
    assert pace.median_per_cpu_s > 0
    assert pace.median_per_s > 0
    (memory,) = measure_memory([coturn.CoturnRelay], [50, 100], lambda _: None)
    assert list(memory.each_kib) == [50, 100]
    assert 0 < memory.each_kib[100] < memory.empty_kib


# --- what is made of the figures --------------------------------------------------------------------------------------


def row(server: str, *per_cpu_s: float, shape: str = SHAPES[0].name) -> Row:
    turns = [Turn(each, 1, 1, 0, 1, 0.1, 0, 1, False, 1, 1, 1, 0, 0, 1, 0) for each in per_cpu_s]
    return Row(shape, server, max(per_cpu_s), 1, 1, 0.1, 1, 1, 1, 1, turns)


def test_ratios_are_the_median_of_the_rounds_own() -> None:
    rows = [row("wadud", 400, 500, 900), row("coturn", 200, 100, 300)]
    assert ratio(rows, "wadud", "coturn") == 3
    assert ratio(rows, "wadud", "limit") is None
    assert ratio(rows, "wadud", "coturn", "limit") == 3


def test_of_two_limits_the_better_one_of_each_round_counts() -> None:
    rows = [row("wadud", 500, 500), row("limit", 1000, 500), row("limit+nap", 700, 2500)]
    assert ratio(rows, "wadud", "limit", "limit+nap") == pytest.approx((0.5 + 0.2) / 2)


def test_bars_are_held_against_peer_limit_and_memory() -> None:
    rows = [row("wadud", 500), row("coturn", 200), row("limit", 1000)]
    paces = [Pace("wadud", [4000], [4000], 0), Pace("coturn", [5000], [5000], 0)]
    memory = [Memory("wadud", 1, {1000: 12.0, 5000: 17.5}), Memory("coturn", 1, {1000: 20.0})]
    found = {verdict.text: verdict.met for verdict in verdicts(rows, paces, memory)}
    assert found == {
        "100 clients, bursts: 2.50 times coturn (bar 2)": True,
        "100 clients, bursts: 50% of the limit (bar 60%)": False,
        "allocations per CPU second: 0.80 times coturn (bar 1)": False,
        "12.0 KiB per allocation with 1,000 (bar 16)": True,
        "17.5 KiB per allocation with 5,000 (bar 16)": False,
    }


@pytest.mark.parametrize("capacity", [700.0, 1500.0, 300.0])
def test_the_highest_rate_without_loss_is_found_from_either_side(capacity: float) -> None:
    def run(rate: float) -> Traffic:
        sent = int(rate * 100)
        came = sent if rate <= capacity else sent * 9 // 10
        return Traffic((sent, 0), (came, 0), {}, 100, 100, 100, ([0] * BUCKETS, 0))

    found, by_client = most_without_loss(run, 1000)
    assert capacity / 1.06 <= found <= capacity
    assert not by_client


def test_a_sender_that_cannot_keep_up_is_not_taken_for_the_server() -> None:
    def run(rate: float) -> Traffic:
        sent = int(min(rate, 500) * 100)
        return Traffic((sent, 0), (sent, 0), {}, 100, 100, 100, ([0] * BUCKETS, 0))

    found, by_client = most_without_loss(run, 1000)
    assert by_client
    assert 450 < found <= 520


def test_the_picture_has_the_longest_bar_of_every_load_as_its_scale(tmp_path: Path) -> None:
    picture([row("wadud", 500), row("limit", 1000)], tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "100 clients, bursts, wadud" in drawn
    assert "1,000</text>" in drawn
