"""The relay in running workers: real sockets, streams, and the hand-over between threads."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aioice import stun

from rtc._worker import EVENT_REQUEST, EVENT_STREAM_CLOSED, STREAM_ICE, STREAM_TURN, Worker
from tests.support import clock

KEY = bytes(range(32))
PASSWORD = "p" * 24
HOST = "127.0.0.1"
LATER_NS = time.monotonic_ns() + 3600 * 10**9


def until(holds: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = clock.now() + timeout_s
    while not holds():
        assert clock.now() < deadline, "it did not come to that"
        time.sleep(0.002)


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        made = []
        for index in range(count):
            worker = Worker(address=HOST, index=index)
            stack.callback(worker.close)
            worker.configure_relay(realm="wadud", nonce_key=KEY, open_ports=b"\xff" * 8192)
            made.append(worker)
        for worker in made:
            for other in made:
                worker.know_media(HOST, other.port, other)
        yield made


@pytest.fixture
def worker() -> Iterator[Worker]:
    with workers(1) as [made]:
        yield made


@contextmanager
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.settimeout(10)
        yield sock


@contextmanager
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection."""
    with socket.create_server((HOST, 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        theirs.setblocking(False)
        ours.settimeout(10)
        yield ours, theirs


def adopt(worker: Worker, sock: socket.socket, kind: int, number: int = 1) -> None:
    remote, local = sock.getpeername(), sock.getsockname()
    worker.adopt_stream(number, sock.detach(), kind, remote, local)


def ice_check(ufrag: str) -> bytes:
    check = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    check.attributes.update({"USERNAME": f"{ufrag}:them", "PRIORITY": 1, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None})
    check.add_message_integrity(PASSWORD.encode())
    check.add_fingerprint()
    return bytes(check)


def allocate_for(worker: Worker, client: socket.socket, relayed: tuple[str, int], number: int = 1) -> None:
    worker.add_allocation(number, (0, *client.getsockname(), "", 0))
    worker.add_relayed(number, relayed)


def exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        assert piece, "closed too early"
        data += piece
    return data


def test_an_allocation_of_one_worker_reaches_the_room_of_another_without_a_socket() -> None:
    with workers(2) as [first, second], udp() as client:
        media = (HOST, second.port)
        second.add_transport(1, "ABCDufrag0", PASSWORD)
        allocate_for(first, client, (HOST, 50_001))
        first.permit(1, HOST, LATER_NS, media_only=True)
        first.bind_channel(1, 0x4000, media, LATER_NS)
        check = ice_check("ABCDufrag0")
        client.sendto(struct.pack("!HH", 0x4000, len(check)) + check, (HOST, first.port))
        data = client.recv(2048)
        assert data[:2] == b"\x40\x00"
        assert stun.parse_message(data[4:]).attributes["XOR-MAPPED-ADDRESS"] == (HOST, 50_001)
        assert first.counters()["relay_handed_over"] == 1
        assert first.counters()["relay_handed_back"] == 1


def test_a_worker_may_end_while_another_hands_to_it() -> None:
    with workers(2) as [first, second], udp() as client:
        allocate_for(first, client, (HOST, 50_001))
        first.permit(1, HOST, LATER_NS, media_only=True)
        first.bind_channel(1, 0x4000, (HOST, second.port), LATER_NS)
        second.close()
        for _ in range(100):
            client.sendto(struct.pack("!HH", 0x4000, 4) + b"data", (HOST, first.port))
        until(lambda: first.counters()["drop_send_error"] == 100)


def test_bursts_pass_both_ways_through_a_relayed_socket(worker: Worker) -> None:
    with udp() as client, udp() as peer, udp() as relayed:
        where = relayed.getsockname()
        allocate_for(worker, client, where)
        worker.open_relayed(1, where, relayed.detach())
        worker.permit(1, HOST, LATER_NS)
        worker.bind_channel(1, 0x4000, peer.getsockname(), LATER_NS)
        for size in (1200, 1, 777, 1472):
            payloads = [bytes([number]) * size for number in range(50)]
            for payload in payloads:
                client.sendto(struct.pack("!HH", 0x4000, size) + payload, (HOST, worker.port))
            assert [peer.recvfrom(2048) for _ in payloads] == [(payload, where) for payload in payloads]
            for payload in payloads:
                peer.sendto(payload, where)
            answers = [client.recv(2048) for _ in payloads]
            assert answers == [struct.pack("!HH", 0x4000, size) + payload for payload in payloads]


def test_a_removed_allocation_closes_its_socket(worker: Worker) -> None:
    with udp() as client, udp() as relayed:
        where = relayed.getsockname()
        allocate_for(worker, client, where)
        worker.open_relayed(1, where, relayed.detach())
        worker.remove_allocation(1)

        def free() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(where)
                except OSError:
                    return False
                return True

        until(free)


def test_a_removed_allocation_leaves_nothing_watched_though_somebody_holds_its_socket(worker: Worker) -> None:
    """As a child does between fork and exec."""
    with udp() as client, udp() as relayed, udp() as stranger:
        where = relayed.getsockname()
        with relayed.dup() as held:
            allocate_for(worker, client, where)
            worker.open_relayed(1, where, relayed.detach())
            worker.remove_allocation(1)
            stranger.sendto(b"for nobody", where)
            before = cpu_s(worker.thread_id)
            time.sleep(0.3)
            assert held.recv(100) == b"for nobody"
            assert cpu_s(worker.thread_id) - before < 0.1, "an event that nobody takes comes again and again"


def test_a_forked_child_that_closes_its_copy_leaves_streams_and_sockets_watched(worker: Worker) -> None:
    worker.add_transport(7, "ABCDufrag0", PASSWORD)
    with stream() as (ours, theirs), udp() as client, udp() as peer, udp() as relayed:
        where = relayed.getsockname()
        allocate_for(worker, client, where)
        worker.open_relayed(1, where, relayed.detach())
        worker.permit(1, HOST, LATER_NS)
        worker.bind_channel(1, 0x4000, peer.getsockname(), LATER_NS)
        adopt(worker, theirs, STREAM_ICE, 5)

        def both_are_read() -> None:
            check = ice_check("ABCDufrag0")
            ours.sendall(struct.pack("!H", len(check)) + check)
            exactly(ours, struct.unpack("!H", exactly(ours, 2))[0])
            peer.sendto(b"heard", where)
            assert client.recv(100) == b"\x40\x00\x00\x05heard"

        both_are_read()
        child = os.fork()
        if child == 0:
            worker.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        both_are_read()


def cpu_s(thread: int) -> float:
    fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ice_checks_come_over_tcp_and_the_end_of_the_connection_is_told(worker: Worker) -> None:
    worker.add_transport(7, "ABCDufrag0", PASSWORD)
    check = ice_check("ABCDufrag0")
    with stream() as (ours, theirs):
        adopt(worker, theirs, STREAM_ICE, 5)
        for piece in (struct.pack("!H", len(check)), check[:30], check[30:]):
            ours.sendall(piece)
        [length] = struct.unpack("!H", exactly(ours, 2))
        answer = stun.parse_message(exactly(ours, length))
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == ours.getsockname()
    events: list[tuple[Any, ...]] = []
    until(lambda: (EVENT_STREAM_CLOSED, 5) in (events.extend(worker.take_events()) or events))


def test_turn_over_tcp_is_challenged_heard_and_relayed(worker: Worker) -> None:
    request = stun.Message(message_method=stun.Method.ALLOCATE, message_class=stun.Class.REQUEST)
    with stream() as (ours, theirs), udp() as peer, udp() as relayed:
        local = theirs.getsockname()
        adopt(worker, theirs, STREAM_TURN, 9)
        ours.sendall(bytes(request))
        head = exactly(ours, 20)
        answer = stun.parse_message(head + exactly(ours, struct.unpack("!H", head[2:4])[0]))
        assert answer.attributes["ERROR-CODE"][0] == 401
        request.attributes.update({"USERNAME": "me", "REALM": "wadud", "NONCE": answer.attributes["NONCE"]})
        request.add_message_integrity(b"key")
        ours.sendall(bytes(request))
        events: list[tuple[Any, ...]] = []
        until(lambda: bool(events.extend(worker.take_events()) or events))
        client = (9, *ours.getsockname(), *local)
        assert events == [(EVENT_REQUEST, *client, bytes(request))]
        where = relayed.getsockname()
        worker.add_allocation(1, client)
        worker.add_relayed(1, where)
        worker.open_relayed(1, where, relayed.detach())
        worker.permit(1, HOST, LATER_NS)
        worker.bind_channel(1, 0x4000, peer.getsockname(), LATER_NS)
        worker.reply(client, b"\x01\x03\x00\x00\x21\x12\xa4\x42" + bytes(12))
        assert exactly(ours, 20)[:2] == b"\x01\x03"
        ours.sendall(b"\x40\x00\x00\x05hello\0\0\0")
        assert peer.recvfrom(100) == (b"hello", where)
        peer.sendto(b"answer", where)
        assert exactly(ours, 12) == b"\x40\x00\x00\x06answer\0\0"
