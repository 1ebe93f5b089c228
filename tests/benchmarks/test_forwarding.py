"""The benchmarks run: a tiny load through the real parts, so that scripts do not rot. Figures are not judged here."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.crowd import Scenario, Server
from benchmarks.forwarding import at_load, bounds, one_at_half, verdicts
from benchmarks.generator import BUCKET_US, BUCKETS, Generator, Totals
from benchmarks.join import quantile
from benchmarks.limit import Paced, measure_paced
from benchmarks.memory import Memory
from benchmarks.plot import write_plot
from benchmarks.rounds import PACED, Row, paced_row

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="server and load generator need a core each")


def row(scenario: str, server: str, packets: float, *, load: float = 0.3, latency_p99_us: float = 900.0) -> Row:
    return Row(
        scenario,
        server,
        rooms=1,
        packets_per_cpu_s=packets,
        limit_per_cpu_s=800_000,
        share_of_limit=packets / 800_000,
        forwarded_per_s=10_000,
        loss_percent=0.0,
        latency_p50_us=300,
        load=load,
        latency_p99_us=latency_p99_us,
    )


@needs_two_cores
def test_a_small_run_forwards_everything_and_says_so(tmp_path: Path) -> None:
    result = tmp_path / "figures.json"
    options = ["--quick", "--share", "--seconds", "0.5", "--only", "1 to 10", "--no-memory", "--json", str(result)]
    command = [sys.executable, "benchmarks/forwarding.py", *options, "--plot", str(tmp_path / "plot.svg")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: a bar was missed, which a busy machine may do
    (found,) = json.loads(result.read_text())["rows"]
    assert (found["scenario"], found["server"]) == ("1 to 10", "wadud")
    assert found["packets_per_cpu_s"] > 0
    assert found["limit_per_cpu_s"] > 0
    assert found["loss_percent"] < 1
    assert found["latency_p50_us"] > 0
    assert not any("authenticate" in remark or "decrypted" in remark for remark in found["remarks"])
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")


def children(pid: int) -> dict[int, str]:
    """With their command lines, of all its threads."""
    with contextlib.suppress(OSError):
        listed = [task.joinpath("children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
        return {int(child): command_of(int(child)) for found in listed for child in found}
    return {}


def command_of(pid: int) -> str:
    """Empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@needs_two_cores
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_server_behind(number: signal.Signals) -> None:
    command = [sys.executable, "benchmarks/forwarding.py", "--share", "--only", "1 to 10", "--no-memory"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 30
        while not any("node_server" in found for found in children(run.pid).values()):
            assert run.poll() is None
            assert time.monotonic() < deadline
        started = children(run.pid)
        run.send_signal(number)
        assert run.wait(30) != 0
    assert {pid: found for pid, found in started.items() if command_of(pid) == found} == {}


@needs_two_cores
def test_bare_joins_reach_media_and_are_timed_by_stage(tmp_path: Path) -> None:
    result = tmp_path / "figures.json"
    options = ["--no-browser", "--share", "--bare-joins", "3", "--burst", "8", "--json", str(result)]
    command = [sys.executable, "benchmarks/join.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    figures = json.loads(result.read_text())
    assert len(figures["bare"]) == 3
    for join in figures["bare"]:
        assert 0 < join["open"] < join["answer"] < join["ice"] < join["dtls"] <= join["media"]
    assert figures["joins_per_cpu_s"] > 0


def test_verdicts_compare_with_limit_and_peer_of_the_same_run() -> None:
    rows = [row("1 to 50", "wadud", 560_000), row("1 to 50", "janus", 80_000), row("100 two-person rooms", "wadud", 1)]
    found = {verdict.text: verdict.met for verdict in verdicts(rows, Memory(100, 90, 2000))}
    assert found["1 to 50: 70% of the limit (bar 65%)"]
    assert not found["1 to 50: 7.0 times Janus (bar 8)"]
    assert not found["100 two-person rooms: 0% of the limit (bar 55%)"]
    assert found["90 KiB per idle participant (bar 128)"]
    assert not found["2000 KiB per sending participant (bar 1024)"]


def test_what_the_limit_itself_makes_of_the_peer_is_told_and_not_judged() -> None:
    rows = [row("1 to 50", "wadud", 560_000), row("1 to 50", "janus", 80_000), row("1 to 50", PACED, 600_000)]
    (text,) = bounds(rows)
    assert "limit is 10.0 times Janus, so 8 times are 80% of it" in text
    assert "at the pace of this load it is 7.5 times Janus" in text
    assert len(verdicts(rows, None)) == 2
    assert bounds(rows[:2]) == []


@needs_two_cores
def test_the_limit_at_the_pace_of_the_load_sends_what_publishers_send() -> None:
    paced = measure_paced(2, 3, 0.4, cpu=0, sink_cpu=1, gro=False)
    publisher_per_s = paced.forwarded_per_s / 6
    assert 200 < publisher_per_s < 300  # 50 of sound, the rest frames
    assert paced.arrived_percent > 99
    assert 0 < paced.latency_p50_us <= paced.latency_p99_us
    assert 0 < paced.load < 1


def test_the_limit_at_the_pace_of_the_load_is_a_row_of_medians() -> None:
    loops = [Paced(figure, 0.02, 10_000, 99.0, 100, 300) for figure in (100_000, 300_000, 200_000)]
    found = paced_row(Scenario("1 to 50", 1, 50), loops, 400_000)
    assert (found.server, found.packets_per_cpu_s, found.share_of_limit) == (PACED, 200_000, 0.5)
    assert found.loss_percent == 1.0


def test_latency_is_judged_at_half_load() -> None:
    full = row("full", "wadud", 1, load=0.9, latency_p99_us=9000)
    rows = [full, row("half", "wadud", 1, load=0.45, latency_p99_us=1500), row("peer", "janus", 1, load=0.5)]
    (verdict,) = verdicts(rows, None)
    assert verdict.met
    assert verdict.text.startswith("half: 1.50 ms added at p99")


def test_a_scenario_scales_to_the_wanted_load_within_what_worker_and_generator_hold() -> None:
    ten = Scenario("10 rooms of 1 to 50", 10, 50)
    assert at_load(ten, 0.25, 0.5) == Scenario("20 rooms of 1 to 50", 20, 50)
    pairs = at_load(Scenario("250 two-person rooms", 250, 0), 0.01, 0.85)
    assert pairs is not None
    assert pairs.rooms == 400
    assert at_load(ten, 0, 0.5) is None


@pytest.mark.parametrize(
    ("first", "speeds", "tried"),
    [
        (0.48, [], []),
        (0.31, [0.031, 0.9], [16]),
        (0.31, [0.045, 0.03, 0.9], [16, 11, 17]),  # the machine is slow once
        (0.31, [0.1, 0.01, 0.1, 0.9], [16, 5, 50]),  # it never rests
    ],
)
async def test_half_load_is_looked_for_a_few_times(first: float, speeds: list[float], tried: list[int]) -> None:
    """`speeds`: the load that one room makes when it is tried."""
    rooms, speed = list[int](), iter(speeds)

    async def one(scenario: Scenario, makers: Sequence[Callable[[], Server]]) -> Row:
        rooms.append(scenario.rooms)
        return row(scenario.name, "wadud", 500_000, load=scenario.rooms * next(speed))

    scenario, last = await one_at_half(
        row("ten", "wadud", 500_000, load=first), Scenario("10 rooms of 1 to 50", 10, 50), one
    )
    assert rooms == tried
    assert scenario.rooms == (tried[-1] if tried else 10)
    assert last.scenario == (scenario.name if tried else "ten")


def test_quantiles_count_what_lies_beyond_the_last_bucket() -> None:
    buckets = [0] * BUCKETS
    buckets[4] = 98
    totals = Totals({}, 1.0, 1.0, (buckets, 2))
    assert totals.latency_us(0.5) == 5 * BUCKET_US
    assert totals.latency_us(0.99) == float("inf")
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(1, 21)), 0.95) == 19


def test_the_picture_names_every_row(tmp_path: Path) -> None:
    write_plot([row("1 to 50 & more", "wadud", 500_000)], tmp_path / "plot.svg")
    picture = (tmp_path / "plot.svg").read_text()
    assert "1 to 50 &amp; more, wadud" in picture
    assert "500,000 (62%)" in picture


def test_a_run_that_nobody_waits_for_any_more_is_over_before_its_participants_go() -> None:
    """Ctrl-C in the midst of a measurement; the thread would work on memory that is somebody else's."""
    generator = Generator()
    with ThreadPoolExecutor() as beside:
        running = beside.submit(generator.run, 0.5)
        while not generator.at_work and not running.done():
            pass
        generator.close()
        assert running.result().wall_s >= 0.5
        assert not generator.at_work
