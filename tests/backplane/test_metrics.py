"""Metrics: what Prometheus reads, with labels from closed sets."""

import re

from backplane.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    text = metrics.exposition().decode()
    return {name: float(value) for name, value in re.findall(r"^(\S+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def test_counters_of_all_workers_are_added_up_under_their_names() -> None:
    metrics = Metrics()
    workers = [
        {"packets_in": 5, "nack_in": 1, "drop_junk": 2, "ice_switches": 1},
        {"packets_in": 7, "nack_in": 2, "drop_junk": 0, "drop_srtp_auth": 4, "pli_out": 3, "rtx_out": 9},
    ]
    metrics.watch(lambda: workers, lambda: {"rooms": 2, "participants": 5})
    found = samples(metrics)
    assert found["wadud_packets_in_total"] == 12
    assert found['wadud_feedback_total{direction="in",kind="nack"}'] == 3
    assert found['wadud_feedback_total{direction="out",kind="pli"}'] == 3
    assert found['wadud_feedback_total{direction="out",kind="rtx"}'] == 9
    assert found['wadud_packets_dropped_total{reason="junk"}'] == 2
    assert found['wadud_packets_dropped_total{reason="srtp_auth"}'] == 4
    assert found['wadud_worker_events_total{event="ice_switches"}'] == 1
    assert (found["wadud_rooms"], found["wadud_participants"]) == (2, 5)


def test_workers_are_read_at_every_scrape_and_not_before() -> None:
    reads: list[int] = []
    metrics = Metrics()
    metrics.watch(lambda: [reads.append(1) or {"packets_in": len(reads)}], dict)
    assert reads == []
    assert samples(metrics)["wadud_packets_in_total"] == 1
    assert samples(metrics)["wadud_packets_in_total"] == 2


def test_joins_are_timed_by_stage() -> None:
    metrics = Metrics()
    metrics.observe_stage("ice", 0.03)
    metrics.observe_stage("ice", 0.3)
    found = samples(metrics)
    assert found['wadud_join_stage_seconds_count{stage="ice"}'] == 2
    assert found['wadud_join_stage_seconds_bucket{le="0.045",stage="ice"}'] == 1
    assert found['wadud_join_stage_seconds_bucket{le="0.5",stage="ice"}'] == 2


def test_estimates_are_a_distribution_not_a_series_per_person() -> None:
    metrics = Metrics()
    before = len(samples(metrics))
    for bps in (60_000.0, 500_000.0, 2_000_000.0):
        metrics.observe_estimate(bps)
    found = samples(metrics)
    assert found['wadud_estimate_bps_bucket{le="800000.0"}'] == 2
    assert found["wadud_estimate_bps_count"] == 3
    assert len(found) == before


def test_two_servers_in_one_process_do_not_share() -> None:
    one, two = Metrics(), Metrics()
    one.joins.labels("ok").inc()
    assert 'wadud_joins_total{outcome="ok"}' not in samples(two)
