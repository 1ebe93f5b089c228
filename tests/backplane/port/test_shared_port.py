"""One port for HTTP, TLS, TURN over TCP and ICE over TCP, spoken to by real clients on real sockets."""

import asyncio
import contextlib
import errno
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from backplane import tls_bridge
from backplane.listeners import BACKLOG, Listener, bound
from backplane.shared_port import UNSENT_BYTES
from tests.support.port import (
    ALLOCATE,
    FRAME,
    PATIENCE_S,
    Taken,
    client_tls,
    closed,
    ended,
    plain,
    secured,
    until,
    world,
)

# the hook that it names would change the names of all tests of this folder
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_http_with_keep_alive_large_bodies_and_websockets(
    folder: Path, session: aiohttp.ClientSession, secure: bool
) -> None:
    body = bytes(range(256)) * 16 * 1024
    async with world(folder if secure else None) as here:
        url = f"{'https' if secure else 'http'}://localhost:{here.number}"
        trust = client_tls(folder, "http/1.1") if secure else False
        async with session.get(url + "/", ssl=trust) as answer:
            assert await answer.text() == f"{'https' if secure else 'http'} 127.0.0.1"
        async with session.post(url + "/", data=body, ssl=trust) as answer:
            assert await answer.read() == body
        assert here.kinds() == {"https" if secure else "http": 1}
        async with session.ws_connect(url + "/socket", ssl=trust) as web_socket:
            await web_socket.send_str("salaam")
            assert await web_socket.receive_str() == "salaam"
            await web_socket.send_bytes(body[:1_000_000])
            assert await web_socket.receive_bytes() == body[:1_000_000]
        assert here.dropped() == {}
        assert here.port.undecided == 0


@pytest.mark.parametrize("options", [(), ("--no-alpn",), ("--tls-max", "1.2"), ("--http2",)])
async def test_curl_is_served_with_and_without_alpn(folder: Path, options: tuple[str, ...]) -> None:
    async with world(folder) as here:
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "--cacert", str(folder / "certificate.pem"), "-d", "x" * 100_000, *options),
            f"https://127.0.0.1:{here.number}/",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert output == b"x" * 100_000
        assert here.kinds() == {"https": 1}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_client_that_does_not_read_holds_the_server_back(folder: Path, secure: bool) -> None:
    request = b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with world(folder if secure else None) as here:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            here.number,
            ssl=client_tls(folder) if secure else None,
            server_hostname="localhost" if secure else None,
            limit=1024,
        )
        writer.write(request)
        assert await reader.read(100)
        await until(lambda: here.written > 0)
        before = -1
        while before != here.written:
            before = here.written
            await asyncio.sleep(0.1)
        assert before < 256 * 64 * 1024
        writer.transport.abort()


async def test_a_client_that_ends_its_side_after_the_request_is_told_apart(folder: Path) -> None:
    async with world(folder) as here, plain(here.number) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        await until(lambda: here.kinds() == {"http": 1})
        async with asyncio.timeout(5):
            while await asyncio.get_running_loop().sock_recv(sock, 4096):
                pass


async def test_turn_is_told_byte_by_byte_and_its_socket_is_untouched(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with world(folder) as here, plain(here.number) as sock:
        for byte in ALLOCATE:
            await loop.sock_sendall(sock, bytes([byte]))
            await asyncio.sleep(0.002)
        taken = await here.handed()
        assert (taken.remote, taken.local) == (sock.getsockname(), sock.getpeername())
        assert taken.sock.getblocking() is False
        assert taken.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert taken.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES
        assert taken.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert taken.read(len(ALLOCATE)) == ALLOCATE
        taken.sock.close()
        assert await closed(sock)
        assert here.kinds() == {"turn": 1}


async def test_ice_is_handed_over_with_its_whole_first_frame_still_unread() -> None:
    loop = asyncio.get_running_loop()
    async with world() as here, plain(here.number) as sock:
        await loop.sock_sendall(sock, FRAME[:11])
        await asyncio.sleep(0.05)
        assert here.taken == []
        await loop.sock_sendall(sock, FRAME[11:] + FRAME)
        taken = await here.handed()
        assert taken.first == FRAME
        assert taken.read(2 * len(FRAME)) == FRAME + FRAME
        taken.sock.close()


@pytest.mark.parametrize("alpn", [(), ("stun.turn",)])
async def test_turn_inside_tls_comes_out_of_a_plain_socket(folder: Path, alpn: tuple[str, ...]) -> None:
    async with world(folder) as here, secured(here.number, folder, *alpn) as (reader, writer):
        for byte in ALLOCATE:
            writer.write(bytes([byte]))
            await writer.drain()
        taken = await here.handed()
        assert taken.remote == writer.get_extra_info("sockname")
        assert taken.local == writer.get_extra_info("peername")
        loop = asyncio.get_running_loop()
        received = b""
        while len(received) < len(ALLOCATE):
            received += await loop.sock_recv(taken.sock, 100)
        assert received == ALLOCATE
        await loop.sock_sendall(taken.sock, ALLOCATE)
        assert await reader.readexactly(len(ALLOCATE)) == ALLOCATE
        assert here.kinds() == {"turn_tls": 1}
        taken.sock.close()
        assert await reader.read() == b""


async def test_each_turn_message_leaves_in_a_tls_record_of_its_own(folder: Path) -> None:
    """However the plane has written them."""
    data = [b"\x40\x00\x00\x05hello\0\0\0", ALLOCATE, b"\x4f\xff\x00\x00", b"\x40\x01\x04\x00" + bytes(1024)]
    stream = b"".join(data)
    loop = asyncio.get_running_loop()

    def ask(number: int) -> ssl.SSLSocket:
        plain_one = socket.create_connection(("127.0.0.1", number))
        connection = client_tls(folder).wrap_socket(plain_one, server_hostname="localhost")
        connection.settimeout(PATIENCE_S)
        connection.sendall(ALLOCATE)
        return connection

    async with world(folder) as here:
        with await loop.run_in_executor(None, ask, here.number) as connection:
            taken = await here.handed()
            for begin, end in ((0, 14), (14, 33), (33, 900), (900, len(stream))):
                await loop.sock_sendall(taken.sock, stream[begin:end])
                await asyncio.sleep(0.01)
            read = [await loop.run_in_executor(None, connection.recv, 65536) for _ in data]
            assert read == data, "one read gives what one record holds"
            taken.sock.close()


async def test_ice_inside_tls_in_two_pieces(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with world(folder) as here, secured(here.number, folder) as (_, writer):
        writer.write(FRAME[:5])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(FRAME[5:] + b"\x00\x01x")
        taken = await here.handed()
        assert taken.first == FRAME
        received = b""
        while len(received) < len(FRAME) + 3:
            received += await loop.sock_recv(taken.sock, 1000)
        assert received == FRAME + b"\x00\x01x"
        writer.close()
        assert await closed(taken.sock)
        taken.sock.close()


async def test_a_bridge_holds_back_whoever_is_faster_than_the_other_side(folder: Path) -> None:
    """Much each way past a side that reads late: nothing is lost, and little waits in between."""
    loop = asyncio.get_running_loop()
    stream = (b"\x40\x00\x03\xfc" + (bytes(range(256)) * 4)[4:]) * 16 * 1024  # of ChannelData
    async with world(folder) as here, secured(here.number, folder, "stun.turn") as (reader, writer):
        taken = await here.handed()

        async def upload() -> None:
            for start in range(0, len(stream), 65536):
                writer.write(stream[start : start + 65536])
                await writer.drain()

        uploading = asyncio.create_task(upload())
        await asyncio.sleep(0.3)
        assert not uploading.done()
        [bridge] = here.port._bridges
        assert 0 < len(bridge._waiting) <= 1024 * 1024
        received = bytearray()
        while len(received) < len(stream):
            received += await loop.sock_recv(taken.sock, 65536)
        assert received == stream
        await uploading
        sending = asyncio.create_task(loop.sock_sendall(taken.sock, stream))
        writer.transport.pause_reading()
        await asyncio.sleep(0.3)
        assert not sending.done()
        writer.transport.resume_reading()
        assert await reader.readexactly(len(stream)) == stream
        await sending
        taken.sock.close()


async def test_without_a_certificate_tls_is_refused_and_the_rest_is_served(session: aiohttp.ClientSession) -> None:
    async with world() as here:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", here.number, ssl=ssl.create_default_context())
        await until(lambda: here.dropped() == {"unwanted": 1})
        async with session.get(f"http://127.0.0.1:{here.number}/") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("first", [ALLOCATE, FRAME, b"GET / HTTP/1.1\r\n"], ids=["turn", "ice", "http"])
async def test_what_nobody_takes_is_closed_and_counted(folder: Path, first: bytes) -> None:
    async with world(folder) as here:
        here.port.turn = here.port.ice = here.port.http = None
        async with plain(here.number) as sock, secured(here.number, folder) as (reader, writer):
            await asyncio.get_running_loop().sock_sendall(sock, first)
            assert await closed(sock)
            writer.write(first)
            assert await ended(reader)
            assert here.dropped() == {"unwanted": 2}


async def test_a_taker_that_fails_costs_its_connection_only(folder: Path, session: aiohttp.ClientSession) -> None:
    async with world(folder) as here:

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        here.port.turn = fail
        async with plain(here.number) as sock, secured(here.number, folder) as (reader, writer):
            await asyncio.get_running_loop().sock_sendall(sock, ALLOCATE)
            assert await closed(sock)
            writer.write(ALLOCATE)
            assert await ended(reader)
        assert here.dropped() == {"failed": 2}
        async with session.get(f"http://127.0.0.1:{here.number}/") as answer:
            assert answer.status == 200


async def test_both_families_are_served_on_one_port_and_seen_as_themselves() -> None:
    loop = asyncio.get_running_loop()
    async with world(host="::") as here:
        for host in ("127.0.0.1", "::1"):
            async with plain(here.number, host) as sock:
                await loop.sock_sendall(sock, ALLOCATE)
                taken = await here.handed()
                assert (taken.remote[0], taken.local[0]) == (host, host)
                taken.sock.close()


async def test_accepting_pauses_when_descriptors_run_out_and_goes_on() -> None:
    [sock] = bound("127.0.0.1", 0)
    sock.listen(BACKLOG)
    failures = [errno.EMFILE, errno.ENFILE]

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, tuple[str, int]]:
            if failures:
                raise OSError(failures.pop(), "out of descriptors")
            return super().accept()

    arrived: list[Taken] = []
    listener = Listener(
        Exhausted(fileno=sock.detach()), lambda sock, remote: arrived.append(Taken(sock, remote, ("", 0)))
    )
    async with plain(listener.address[1]) as client:
        await until(lambda: bool(arrived))
        assert listener.pauses == 2
        assert arrived[0].remote == client.getsockname()
    arrived[0].sock.close()
    listener.close()


async def test_a_taken_port_and_a_foreign_address_are_told() -> None:
    async with world() as here:
        with pytest.raises(OSError) as caught:
            bound("127.0.0.1", here.number)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError) as caught:
            bound("192.0.2.1", 0)
        assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_port_that_another_listens_on_since_it_was_bound_is_told() -> None:
    async with world() as here:
        [ours] = bound("127.0.0.1", 0)
        with ours, socket.socket() as theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            theirs.bind(ours.getsockname())
            theirs.listen()
            with pytest.raises(OSError) as caught:
                here.port.listen([ours])
            assert caught.value.errno == errno.EADDRINUSE
            async with plain(here.number) as sock:
                await asyncio.get_running_loop().sock_sendall(sock, ALLOCATE)
                (await here.handed()).sock.close()


async def test_closing_cuts_the_undecided_and_the_bridged(folder: Path) -> None:
    async with world(folder) as here, plain(here.number) as silent, plain(here.number) as shaking:
        await asyncio.get_running_loop().sock_sendall(shaking, b"\x16\x03\x01\x02\x00\x01\x00")
        async with secured(here.number, folder, "stun.turn") as (reader, _):
            taken = await here.handed()
            await until(lambda: here.port.undecided == 2)
            await here.port.close()
            assert await closed(silent)
            assert await closed(shaking)
            assert await closed(taken.sock)
            taken.sock.close()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
                await reader.readexactly(1)


async def test_a_bridged_client_that_reads_nothing_for_long_is_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window may stay shut for ever, and that the plane has given it up shows only in reading from the plane."""
    monkeypatch.setattr(tls_bridge, "STUCK_S", 0.5)
    loop = asyncio.get_running_loop()
    async with world(folder) as here, secured(here.number, folder, "stun.turn") as (_, writer):
        taken = await here.handed()
        writer.transport.pause_reading()
        taken.sock.setblocking(False)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    await loop.sock_sendall(taken.sock, bytes(65536))
        taken.sock.close()
        here.taken.clear()
        await until(lambda: not here.port._bridges)


@pytest.mark.parametrize("cut", [1, 20])
async def test_what_a_peer_says_on_a_data_connection_waits_for_nothing(folder: Path, cut: int) -> None:
    """It may look like the beginning of a long TURN message."""
    bind = b"\x00\x0b" + ALLOCATE[2:]
    async with world(folder) as here, secured(here.number, folder, "stun.turn") as (reader, writer):
        taken = await here.handed()
        writer.write(bind[:cut])
        await writer.drain()
        await asyncio.to_thread(taken.read, cut)
        writer.write(bind[cut:])
        await asyncio.to_thread(taken.read, len(bind) - cut)
        taken.sock.sendall(b"HTTP/1.1 200 OK")
        async with asyncio.timeout(5):
            assert await reader.readexactly(15) == b"HTTP/1.1 200 OK"
