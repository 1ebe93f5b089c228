"""What `/metrics` tells Prometheus.

Labels come from closed sets (join stage, drop reason, error code), never from rooms or people, so the number of series
is fixed. Packet counters are not kept here: the packet plane counts for itself and is read at every scrape (`watch`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

# Seconds. The bars of a join are among them: 45 ms to first media, 500 ms to first audio, 700 ms to a frame.
_JOIN_BUCKETS: Final = (
    0.002,
    0.005,
    0.01,
    0.02,
    0.03,
    0.045,
    0.07,
    0.1,
    0.15,
    0.25,
    0.35,
    0.5,
    0.7,
    1.0,
    2.0,
    5.0,
    15.0,
)
_ROUTE_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ESTIMATE_BUCKETS: Final = (50e3, 100e3, 200e3, 400e3, 800e3, 1.5e6, 3e6, 6e6, 12e6)
_STALL_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_DROP: Final = "drop_"

# Worker counters that stand under a name of their own; the rest of them go to wadud_worker_events_total by name.
_NAMED: Final = {
    "packets_in": ("wadud_packets_in", "Datagrams received on media ports."),
    "packets_out": ("wadud_packets_out", "Datagrams sent from media ports."),
    "bytes_in": ("wadud_bytes_in", "Bytes received on media ports, UDP payload."),
    "bytes_out": ("wadud_bytes_out", "Bytes sent from media ports, UDP payload."),
    "forwarded": ("wadud_packets_forwarded", "RTP packets forwarded to subscribers."),
}
# Feedback by kind and direction: counter name of a worker -> (kind, direction).
_FEEDBACK: Final = {
    "nack_in": ("nack", "in"),
    "nack_out": ("nack", "out"),
    "rtx_in": ("rtx", "in"),
    "rtx_out": ("rtx", "out"),
    "pli_in": ("pli", "in"),
    "pli_out": ("pli", "out"),
    "fir_in": ("fir", "in"),
    "remb_in": ("remb", "in"),
    "remb_out": ("remb", "out"),
    "twcc_in": ("twcc", "in"),
    "twcc_out": ("twcc", "out"),
}


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which no graph of ours reads


class Metrics:
    """The metrics of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._join_seconds = Histogram(
            "wadud_join_stage_seconds",
            "Time from a join's offer to each stage of it.",
            ["stage"],
            buckets=_JOIN_BUCKETS,
            registry=self.registry,
        )
        self.joins = Counter(
            "wadud_joins", "Joins by outcome: ok or an error code.", ["outcome"], registry=self.registry
        )
        self.resumes = Counter(
            "wadud_resumes", "Resumed sessions by outcome: ok or an error code.", ["outcome"], registry=self.registry
        )
        self.rooms_let_go = Counter(
            "wadud_rooms_let_go", "Rooms ended because nobody in them was connected.", registry=self.registry
        )
        self.errors = Counter(
            "wadud_signalling_errors", "Error messages sent, by code.", ["code"], registry=self.registry
        )
        self.sockets = Gauge("wadud_signalling_sockets", "Open signalling sockets.", registry=self.registry)
        self.frame_faults = Counter(
            "wadud_websocket_faults",
            "WebSockets closed over what the client sent, by close code (RFC 6455 section 7.4; 4429: too many frames).",
            ["code"],
            registry=self.registry,
        )
        self.live_sockets = Gauge("wadud_live_sockets", "Open live sockets.", registry=self.registry)
        self.live_ends = Counter(
            "wadud_live_ends", "Live sockets and watches that we ended, by reason.", ["reason"], registry=self.registry
        )
        self.sessions = Gauge("wadud_sessions", "Signalling sessions, suspended ones included.", registry=self.registry)
        self.requests = Counter("wadud_http_requests", "HTTP answers.", ["method", "status"], registry=self.registry)
        self._seconds = Histogram(
            "wadud_route_seconds",
            "Time to answer, by route and class of the answer; sockets are not in it.",
            ["method", "route", "status"],
            buckets=_ROUTE_BUCKETS,
            registry=self.registry,
        )
        self._seconds_of: dict[tuple[str, str, int], Histogram] = {}
        self._estimates = Histogram(
            "wadud_estimate_bps",
            "Bandwidth estimates of subscribers, each 2 s while a path changes, else each 10 s, bits per second.",
            buckets=_ESTIMATE_BUCKETS,
            registry=self.registry,
        )

        self._stalls = Histogram(
            "wadud_loop_stall_seconds",
            "Stretches of 50 ms and more in which the event loop served nobody, by cause (see loop_watch).",
            ["cause"],
            buckets=_STALL_BUCKETS,
            registry=self.registry,
        )

    def observe_stall(self, cause: str, seconds: float) -> None:
        """The event loop stood still. ``cause``: as `loop_watch.Stall.cause`."""
        self._stalls.labels(cause).observe(seconds)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """A join has reached ``stage``, ``seconds`` after its offer."""
        self._join_seconds.labels(stage).observe(seconds)

    def observe_route(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route``: its template; ``method``: one of a closed set."""
        key = (method, route, status // 100)
        child = self._seconds_of.get(key)
        if child is None:  # looking a child up by its labels costs more than the observation
            child = self._seconds_of[key] = self._seconds.labels(method, route, f"{status // 100}xx")
        child.observe(seconds)

    def observe_estimate(self, estimate_bps: float) -> None:
        self._estimates.observe(estimate_bps)

    def watch(
        self, counters: Callable[[], Iterable[Mapping[str, int]]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        """Read ``counters`` (one mapping per media worker) and ``gauges`` (rooms, participants ...) at every scrape."""
        self.registry.register(_MediaCollector(counters, gauges))

    def watch_port(
        self,
        taken: Callable[[], Mapping[str, int]],
        dropped: Callable[[], Mapping[str, int]],
        events: Callable[[], Mapping[str, int]],
        gauges: Callable[[], Mapping[str, float]],
    ) -> None:
        """Read the shared TCP port at every scrape: connections by kind, dropped ones by reason, other ``events``."""
        self.registry.register(_PortCollector(taken, dropped, events, gauges))

    def exposition(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self.registry)


class _MediaCollector(Collector):
    def __init__(
        self, counters: Callable[[], Iterable[Mapping[str, int]]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        self._counters = counters
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the workers."""
        return ()

    def collect(self) -> Iterable[Metric]:
        total: dict[str, int] = {}
        for worker in self._counters():
            for name, value in worker.items():
                total[name] = total.get(name, 0) + value
        feedback = CounterMetricFamily(
            "wadud_feedback", "RTCP feedback and repair, by kind.", labels=["kind", "direction"]
        )
        drops = CounterMetricFamily("wadud_packets_dropped", "Packets dropped, by reason.", labels=["reason"])
        events = CounterMetricFamily("wadud_worker_events", "Other counters of the media workers.", labels=["event"])
        for name, value in total.items():
            if name in _NAMED:
                yield CounterMetricFamily(*_NAMED[name], value=value)
            elif name in _FEEDBACK:
                feedback.add_metric(_FEEDBACK[name], value)
            elif name.startswith(_DROP):
                drops.add_metric([name.removeprefix(_DROP)], value)
            else:
                events.add_metric([name], value)
        yield from (feedback, drops, events)
        for name, level in self._gauges().items():
            yield GaugeMetricFamily(f"wadud_{name}", f"Number of {name.replace('_', ' ')}.", value=level)


class _PortCollector(Collector):
    def __init__(
        self,
        taken: Callable[[], Mapping[str, int]],
        dropped: Callable[[], Mapping[str, int]],
        events: Callable[[], Mapping[str, int]],
        gauges: Callable[[], Mapping[str, float]],
    ) -> None:
        self._families = (
            ("wadud_connections", "TCP connections, by what they speak.", "kind", taken),
            ("wadud_connections_dropped", "TCP connections ended undecided, by reason.", "reason", dropped),
            ("wadud_port_events", "Other events of the TCP port.", "event", events),
        )
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the port."""
        return ()

    def collect(self) -> Iterable[Metric]:
        for name, help_text, label, read in self._families:
            family = CounterMetricFamily(name, help_text, labels=[label])
            for value, count in read().items():
                family.add_metric([value], count)
            yield family
        for name, level in self._gauges().items():
            yield GaugeMetricFamily(f"wadud_{name}", f"Number of {name.replace('_', ' ')}.", value=level)
