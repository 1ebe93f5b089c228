"""The emulated network does what its links say, and the same again from the same seed."""

from itertools import pairwise

import pytest

from tests.network.emulator import IP_UDP, MS, SECOND, Address, GilbertElliott, Link, Network

HERE: Address = ("192.0.2.1", 1000)
THERE: Address = ("192.0.2.2", 2000)


class Recorder:
    """Writes down what arrives; answers each datagram when `echo`; wakes at the times given."""

    def __init__(self, network: Network, *, echo: bool = False, wakes: tuple[int, ...] = ()) -> None:
        self.network, self.echo = network, echo
        self.arrived: list[tuple[int, bytes]] = []
        self.woken: list[int] = []
        self._wakes = [network.now_ns + wake for wake in wakes]
        self._out: list[tuple[bytes, Address]] = []

    def receive(self, data: bytes, source: Address, now_ns: int) -> None:
        self.arrived.append((now_ns, data))
        if self.echo:
            self._out.append((data, source))

    def handle_timer(self, now_ns: int) -> None:
        self.woken.append(now_ns)
        self._wakes = [wake for wake in self._wakes if wake > now_ns]

    def timer_ns(self) -> int | None:
        return min(self._wakes, default=None)

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        out, self._out = self._out, []
        return out

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(data[:4], "big") for _, data in self.arrived]


def send_all(link: Link, count: int = 10_000, interval_ns: int = MS, size: int = 100, seed: int = 1) -> Recorder:
    """Numbered datagrams over one link, each `interval_ns`."""
    network = Network(seed)
    network.connect(HERE[0], THERE[0], link)
    target = Recorder(network)
    network.attach(target, THERE)
    for number in range(count):
        data = number.to_bytes(4, "big") + bytes(size - 4)
        network.at(network.now_ns + number * interval_ns, lambda data=data: network.send(data, HERE, THERE))
    network.run(count * interval_ns / SECOND + 60)
    return target


def test_plain_link_delays_and_nothing_else() -> None:
    target = send_all(Link(delay_s=0.03), count=100)
    assert target.numbers == list(range(100))
    assert target.arrived[0][0] == 1000 * SECOND + 30 * MS


HARD = Link(0.03, 0.02, 0.05, GilbertElliott(0.01, 0.3), 0.05, 0.05, 0.02, 1_000_000, 1500, 20_000)


def test_same_seed_gives_the_same_trace() -> None:
    first = send_all(HARD, count=2000)
    assert first.arrived == send_all(HARD, count=2000).arrived
    assert first.arrived != send_all(HARD, count=2000, seed=2).arrived


def test_traffic_of_one_direction_does_not_change_the_fate_of_another() -> None:
    traces = []
    for noise in (0, 50):
        network = Network(1)
        network.default = Link(loss=0.3)
        target = Recorder(network)
        network.attach(target, THERE)
        for _ in range(noise):
            network.send(b"noise", THERE, HERE)
        for number in range(200):
            network.send(number.to_bytes(4, "big"), HERE, THERE)
        network.run(1)
        traces.append(target.numbers)
    assert traces[0] == traces[1]


def test_losses_come_at_their_rate() -> None:
    assert len(send_all(Link(loss=0.1)).arrived) == pytest.approx(9000, abs=100)


def test_bursts_of_losses_come_at_their_rate_and_length() -> None:
    model = GilbertElliott(to_bad=0.02, to_good=0.25)
    numbers = send_all(Link(bursts=model)).numbers
    assert 1 - len(numbers) / 10_000 == pytest.approx(model.mean_loss, rel=0.15)
    gaps = [b - a - 1 for a, b in pairwise(numbers) if b - a > 1]
    assert sum(gaps) / len(gaps) == pytest.approx(1 / model.to_good, rel=0.15)


def test_jitter_spreads_arrivals_but_keeps_their_order() -> None:
    target = send_all(Link(delay_s=0.01, jitter_s=0.02), count=2000, interval_ns=5 * MS)
    assert target.numbers == list(range(2000))
    delays = [at - 1000 * SECOND - number * 5 * MS for number, (at, _) in enumerate(target.arrived)]
    assert min(delays) < 15 * MS
    assert 25 * MS < max(delays) <= 30 * MS


def test_reordered_share_is_overtaken_and_nothing_is_missing() -> None:
    numbers = send_all(Link(reorder=0.05, reorder_s=0.02)).numbers
    assert sorted(numbers) == list(range(10_000))
    late = sum(number < max(numbers[max(0, i - 50) : i], default=-1) for i, number in enumerate(numbers))
    assert late == pytest.approx(500, abs=80)


def test_duplicated_share_arrives_twice() -> None:
    numbers = send_all(Link(duplicate=0.1)).numbers
    assert len(set(numbers)) == 10_000
    assert len(numbers) == pytest.approx(11_000, abs=100)


def test_rate_spaces_packets_and_the_full_queue_drops_them() -> None:
    size, rate = 972, 1_000_000  # 8 ms each with headers
    target = send_all(Link(delay_s=0, rate_bps=rate, bucket_octets=0, queue_octets=20_000), 1000, 4 * MS, size)
    spans = [b[0] - a[0] for a, b in pairwise(target.arrived)]
    assert min(spans) >= 8 * MS - 1
    assert len(target.arrived) == pytest.approx(1000 / 2 + 20, abs=3)
    queued = max(at - 1000 * SECOND - number * 4 * MS for number, (at, _) in zip(target.numbers, target.arrived))
    assert queued <= 20_000 * 8 * SECOND // rate


def test_bucket_lets_a_burst_through_at_once() -> None:
    target = send_all(Link(delay_s=0, rate_bps=100_000, bucket_octets=5 * 128), 10, 0, 100)
    at_once = [at for at, _ in target.arrived if at == 1000 * SECOND]
    assert len(at_once) == 5


def test_what_exceeds_the_mtu_vanishes() -> None:
    assert len(send_all(Link(mtu=1280), 1, size=1280 - IP_UDP).arrived) == 1
    assert not send_all(Link(mtu=1280), 1, size=1281 - IP_UDP).arrived


def test_timers_and_deliveries_interleave_by_time() -> None:
    network = Network(1)
    target = Recorder(network, wakes=(3 * MS, 7 * MS))
    source = Recorder(network)
    network.attach(target, THERE)
    network.attach(source, HERE)
    network.send(b"5 ms", HERE, THERE)
    start = network.now_ns
    assert network.run_until(lambda: len(target.woken) == 1, 1) == 0.003
    assert not target.arrived
    network.run(1)
    assert target.arrived == [(start + 5 * MS, b"5 ms")]
    assert target.woken == [start + 3 * MS, start + 7 * MS]


def test_answers_go_back_over_the_other_direction() -> None:
    network = Network(1)
    network.connect(HERE[0], THERE[0], Link(delay_s=0.01))
    network.connect(THERE[0], HERE[0], Link(delay_s=0.1))
    near, far = Recorder(network), Recorder(network, echo=True)
    network.attach(near, HERE)
    network.attach(far, THERE)
    network.send(b"there and back", HERE, THERE)
    assert network.run_until(lambda: bool(near.arrived), 1) == pytest.approx(0.11)


def test_moved_host_is_no_longer_reached_at_its_old_address() -> None:
    network = Network(1)
    host = Recorder(network)
    network.attach(host, HERE)
    network.attach(host, ("192.0.2.3", 1))
    network.send(b"old", THERE, HERE)
    network.send(b"new", THERE, ("192.0.2.3", 1))
    network.run(1)
    assert [data for _, data in host.arrived] == [b"new"]
    assert network.fates["nobody there"] == 1


def test_waiting_for_what_never_happens_is_an_error() -> None:
    with pytest.raises(AssertionError, match="within 2 s"):
        Network(1).run_until(lambda: False, 2)


class Clockwork(Recorder):
    """Wakes each `period_ns`; with 0 its timer stays where it is."""

    def __init__(self, network: Network, period_ns: int) -> None:
        super().__init__(network)
        self._period_ns, self._due_ns = period_ns, network.now_ns + MS

    def handle_timer(self, now_ns: int) -> None:
        self._due_ns += self._period_ns

    def timer_ns(self) -> int | None:
        return self._due_ns


def test_host_that_always_wakes_beside_something_else_is_not_stuck() -> None:
    network = Network(1)
    network.attach(Clockwork(network, MS), HERE)
    for number in range(1, 2001):
        network.at(network.now_ns + number * MS, lambda: None)
    network.run(2)
    assert network.now_ns == 1002 * SECOND


def test_timer_that_stays_in_the_past_is_an_error() -> None:
    network = Network(1)
    network.attach(Clockwork(network, 0), HERE)
    with pytest.raises(AssertionError, match="timer of"):
        network.run(1)
