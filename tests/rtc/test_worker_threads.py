"""A worker's own thread: its life, its socket, and how commands and events cross between it and Python."""

import asyncio
import errno
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvloop

from rtc._worker import EVENT_DTLS, EVENT_SELECTED, Worker
from tests.rtc.checks import PASSWORD, UFRAG, answer, check
from tests.support import clock

UDP_SEGMENT = 103
PATIENCE_S = 10.0


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def test_media_goes_before_other_work_where_that_is_allowed(worker: Worker) -> None:
    realtime = worker.thread_id and os.sched_getscheduler(worker.thread_id) == os.SCHED_RR
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        assert not realtime
        return
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    assert realtime
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_an_overloaded_worker_gives_way_until_it_has_rested(worker: Worker) -> None:
    if os.sched_getscheduler(worker.thread_id) != os.SCHED_RR:
        pytest.skip("real-time threads are not allowed here")
    worker.add_transport(1, UFRAG, PASSWORD)
    flood = peer(worker)
    forged = check(password="not the password at all")  # each costs an HMAC, more than it costs to send
    flood.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(forged))
    junk = forged * 60
    deadline = clock.now() + PATIENCE_S
    while os.sched_getscheduler(worker.thread_id) == os.SCHED_RR and clock.now() < deadline:
        for _ in range(50):
            flood.send(junk)
    assert os.sched_getscheduler(worker.thread_id) == os.SCHED_OTHER
    while os.sched_getscheduler(worker.thread_id) != os.SCHED_RR and clock.now() < deadline:
        time.sleep(0.01)
        flood.send(forged)
    assert os.sched_getscheduler(worker.thread_id) == os.SCHED_RR


def peer(worker: Worker, host: str = "127.0.0.1") -> socket.socket:
    """A socket that talks to the worker at ``host`` and hears from nobody else."""
    endpoint = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.settimeout(PATIENCE_S)
    endpoint.connect((host, worker.port))
    return endpoint


def introduce(worker: Worker, endpoint: socket.socket) -> None:
    """Transport 1 selects the endpoint's address."""
    worker.add_transport(1, UFRAG, PASSWORD)
    endpoint.send(check())
    answer(endpoint.recv(2000))


def until(condition: Callable[[], bool]) -> None:
    deadline = clock.now() + PATIENCE_S
    while not condition():
        assert clock.now() < deadline
        os.sched_yield()


def next_events(worker: Worker) -> list[tuple[object, ...]]:
    assert select.select([worker.fileno()], [], [], PATIENCE_S)[0]
    return worker.take_events()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def status(path: str, field: str) -> str:
    (line,) = (line for line in Path(path).read_text().splitlines() if line.startswith(f"{field}:"))
    return line.split(":")[1].strip()


def test_two_hundred_starts_and_stops_leave_no_thread_and_no_descriptor() -> None:
    Worker().close()
    before = threads(), descriptors()
    for number in range(200):
        worker = Worker()
        assert worker.port
        worker.add_transport(number + 1, UFRAG, PASSWORD)
        worker.close()
    assert (threads(), descriptors()) == before


def test_a_forgotten_worker_stops_its_thread() -> None:
    gc.collect()  # what earlier tests left
    before = threads(), descriptors()
    worker = Worker()
    assert threads() == before[0] + 1
    del worker
    gc.collect()
    assert (threads(), descriptors()) == before


def test_the_thread_has_a_name_a_processor_and_no_signals() -> None:
    cpu = min(os.sched_getaffinity(0))
    with closing(Worker(cpu=cpu)) as worker:
        task = f"/proc/self/task/{worker.thread_id}"
        assert Path(task, "comm").read_text().strip() == "wadud-media"
        assert os.sched_getaffinity(worker.thread_id) == {cpu}
        blocked = int(status(f"{task}/status", "SigBlk"), 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1):
        assert blocked >> (number - 1) & 1


def test_a_socket_that_cannot_be_had_is_an_os_error(worker: Worker) -> None:
    before = threads(), descriptors()
    with pytest.raises(OSError) as taken:
        Worker(port=worker.port)
    assert taken.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as foreign:
        Worker(address="192.0.2.200")
    assert foreign.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError):
        Worker(cpu=1023)
    assert (threads(), descriptors()) == before


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        # Wildcards: the answer comes from the address that was asked, or the connected socket would not hear it.
        ("0.0.0.0", "127.0.0.5"),
        ("::", "127.0.0.6"),
        ("::", "::1"),
    ],
)
def test_a_check_is_answered_from_the_address_it_was_sent_to(address: str, host: str) -> None:
    with closing(Worker(address=address)) as worker, peer(worker, host) as endpoint:
        worker.add_transport(1, UFRAG, PASSWORD)
        endpoint.send(check(9))
        own = endpoint.getsockname()[:2]
        assert answer(endpoint.recv(2000)).attributes["XOR-MAPPED-ADDRESS"] == own
        assert next_events(worker) == [(EVENT_SELECTED, 1, *own)]


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_what_is_sent_leaves_by_the_address_that_was_nominated(address: str) -> None:
    """A host with two addresses is two pairs of one client, alike but for our address (RFC 8445 section 12.1)."""
    with closing(Worker(address=address)) as worker, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.settimeout(PATIENCE_S)
        worker.add_transport(1, UFRAG, PASSWORD)
        for number, (host, nominate) in enumerate([("127.0.0.5", False), ("127.0.0.6", True), ("127.0.0.5", False)]):
            endpoint.sendto(check(number, nominate=nominate), (host, worker.port))
            assert endpoint.recvfrom(2000)[1] == (host, worker.port)
        worker.send_dtls(1, [b"hello"])
        assert endpoint.recvfrom(2000) == (b"hello", ("127.0.0.6", worker.port))


def test_datagrams_the_kernel_joined_are_taken_apart(worker: Worker) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    checks = [check(number) for number in range(1, 41)]
    assert len({len(datagram) for datagram in checks}) == 1
    with peer(worker) as endpoint:
        endpoint.setsockopt(socket.SOL_UDP, UDP_SEGMENT, len(checks[0]))
        endpoint.send(b"".join(checks))
        answered = [answer(endpoint.recv(2000)).transaction_id for _ in checks]
    assert answered == [number.to_bytes(12, "big") for number in range(1, 41)]


def test_commands_are_carried_out_in_their_order(worker: Worker) -> None:
    with peer(worker) as endpoint:
        introduce(worker, endpoint)
        for start in range(0, 1000, 100):  # no more at once than a small socket buffer holds
            flight = [number.to_bytes(4, "big") for number in range(start, start + 100)]
            for ten in range(0, 100, 10):
                worker.send_dtls(1, flight[ten : ten + 10])
                for transport in (2, 3):
                    worker.add_transport(transport, f"ufrag{transport}", PASSWORD)
                    worker.add_transport(transport, f"ufrag{transport}", PASSWORD)  # refused
                    worker.remove_transport(transport)
                    worker.remove_transport(transport)  # refused
            assert [endpoint.recv(2000) for _ in flight] == flight
    until(lambda: worker.counters()["commands_refused"] >= 400)
    assert worker.counters()["commands_refused"] == 400


def test_a_command_holds_for_datagrams_sent_after_it(worker: Worker) -> None:
    with peer(worker) as endpoint:
        for number in range(1, 301):
            worker.add_transport(number, f"ufrag{number}", PASSWORD)
            endpoint.send(check(number, ufrag=f"ufrag{number}"))
            assert answer(endpoint.recv(2000)).transaction_id == number.to_bytes(12, "big")


def test_commands_given_before_close_are_carried_out(worker: Worker) -> None:
    with peer(worker) as endpoint:
        introduce(worker, endpoint)
        worker.send_dtls(1, [b"goodbye"])
        worker.close()
        assert endpoint.recv(2000) == b"goodbye"


def test_what_drives_a_worker_by_hand_is_refused(worker: Worker) -> None:
    with pytest.raises(RuntimeError):
        worker.receive(b"", ("127.0.0.1", 1), 0)
    with pytest.raises(RuntimeError):
        worker.advance(0)
    with pytest.raises(RuntimeError):
        worker.take_datagrams()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_every_event_reaches_an_event_loop(worker: Worker, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    hellos = [bytes([22]) + number.to_bytes(4, "big") + bytes(100) for number in range(90)]

    async def listen(endpoint: socket.socket) -> list[object]:
        heard: list[object] = []
        complete = asyncio.Event()

        def look() -> None:
            heard.extend(event[2] for event in worker.take_events() if event[0] == EVENT_DTLS)
            if len(heard) == len(hellos):
                complete.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(worker.fileno(), look)
        for number, hello in enumerate(hellos):
            endpoint.send(hello)
            if number % 3 == 0:  # sometimes the loop is idle, sometimes it finds several
                await asyncio.sleep(0)
        await asyncio.wait_for(complete.wait(), PATIENCE_S)
        loop.remove_reader(worker.fileno())
        return heard

    with peer(worker) as endpoint, closing(new_loop()) as loop:
        introduce(worker, endpoint)
        assert loop.run_until_complete(listen(endpoint)) == hellos


def test_a_flood_of_junk_is_counted_and_takes_no_memory(worker: Worker) -> None:
    def resident_kib() -> int:
        return int(status("/proc/self/status", "VmRSS").split()[0])

    def arrived() -> int:
        counters = worker.counters()
        return counters["packets_in"] + counters["drop_socket_full"]

    def flood(endpoint: socket.socket, rounds: int) -> None:
        sent = arrived() + rounds * len(junk)
        for _ in range(rounds):
            for datagram in junk:
                endpoint.send(datagram)
        until(lambda: arrived() == sent)

    noise = os.urandom(1400)
    kinds = (0, 1, 3, 22, 63, 64, 127, 128, 144, 191, 255)
    junk = [bytes([kind]) + noise[:length] for kind in kinds for length in (0, 10, 19, 100, 1400)]
    with peer(worker) as endpoint:
        flood(endpoint, 100)
        before = resident_kib()
        flood(endpoint, 1000)
        assert resident_kib() - before < 2048
        introduce(worker, endpoint)
    assert worker.counters()["packets_out"] == 1


def test_the_processor_rests_while_nothing_happens(worker: Worker) -> None:
    def switches() -> int:
        return int(status(f"/proc/self/task/{worker.thread_id}/status", "voluntary_ctxt_switches"))

    with peer(worker) as endpoint:
        introduce(worker, endpoint)
        worker.remove_transport(1)
        until(lambda: worker.counters()["stun_in"] == 1)
        before = switches()
        endpoint.settimeout(0.3)
        with pytest.raises(TimeoutError):
            endpoint.recv(1)
        assert switches() - before < 10


def test_a_forked_child_ends_without_the_thread() -> None:
    script = """
import os
from rtc._worker import Worker
worker = Worker()
child = os.fork()
if child == 0:
    worker.close()
    os._exit(0)
_, state = os.waitpid(child, 0)
assert state == 0
worker.close()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
