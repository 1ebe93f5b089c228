"""NAT behaviour discovery (RFC 5780): the decision by itself, then four places on loopback and coturn's client."""

import asyncio
import itertools
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aioice import stun

from rtc import _worker
from tests.support.port import until
from tests.turn.tcp_world import PATIENCE_S, REALM, request_of
from turn import attributes as names
from turn.discovery import LOWEST_PORT, MAX_BYTES, Places, answer, is_steered
from turn.discovery_sockets import BURST, DiscoverySockets
from turn.plane import Client
from turn.stun import Address, parse

PLACES = Places(("203.0.113.9", 3478), ("203.0.113.10", 3479))
SIX = Places(("2001:db8::9", 3478), ("2001:db8::a", 3479))
SOURCE = ("198.51.100.7", 40001)
CHANGE_HOST, CHANGE_PORT = 4, 2
HOSTS = ("127.0.0.1", "127.0.0.2")


def ask(
    place: Address | None = PLACES.primary,
    places: Places | None = PLACES,
    source: Address = SOURCE,
    **attributes: Any,
) -> tuple[stun.Message, Address | None, Address]:
    """The answer as aioice reads it, from where, and to where."""
    request = request_of(names.BINDING, **attributes)
    reply = answer(parse(bytes(request)), source, place, places)
    message = stun.parse_message(reply.message)
    assert message.transaction_id == request.transaction_id
    return message, reply.origin, reply.destination


# --- the decision ---


@pytest.mark.parametrize("place", PLACES.all)
@pytest.mark.parametrize("change", [0, CHANGE_HOST, CHANGE_PORT, CHANGE_HOST | CHANGE_PORT])
def test_the_answer_comes_from_the_place_that_was_asked_for(place: Address, change: int) -> None:
    message, origin, destination = ask(place, change_request=change)
    hosts, ports = zip(*PLACES.all)
    other = next(host for host in hosts if host != place[0]), next(port for port in ports if port != place[1])
    wanted = other[0] if change & CHANGE_HOST else place[0], other[1] if change & CHANGE_PORT else place[1]
    assert (origin, destination) == (wanted, SOURCE)
    assert message.message_class is stun.Class.RESPONSE
    assert message.attributes["RESPONSE-ORIGIN"] == wanted
    assert message.attributes["OTHER-ADDRESS"] == other  # of where it was asked, whatever was asked for
    assert message.attributes["XOR-MAPPED-ADDRESS"] == message.attributes["MAPPED-ADDRESS"] == SOURCE


def test_discovery_over_ipv6() -> None:
    source = ("2001:db8:1::7", 40001)
    message, origin, _ = ask(SIX.alternate, SIX, source, change_request=CHANGE_HOST)
    assert origin == ("2001:db8::9", 3479)
    assert message.attributes["OTHER-ADDRESS"] == SIX.primary
    assert message.attributes["XOR-MAPPED-ADDRESS"] == source


def test_a_response_port_changes_nothing_but_the_port() -> None:
    message, origin, destination = ask(response_port=50000)
    assert (origin, destination) == (PLACES.primary, (SOURCE[0], 50000))
    assert message.attributes["XOR-MAPPED-ADDRESS"] == SOURCE


@pytest.mark.parametrize("port", [0, 53, 123, LOWEST_PORT - 1])
def test_no_answer_is_sent_to_a_port_where_services_live(port: int) -> None:
    message, origin, destination = ask(response_port=port)
    assert message.error_code == 400
    assert (origin, destination) == (PLACES.primary, SOURCE)


def test_padding_comes_back_no_longer_than_it_came_and_within_one_message() -> None:
    message, _, _ = ask(padding=bytes(400))
    assert len(message.attributes["PADDING"]) == 400
    for size in (1, 399, 1430, 1500, 3900):
        request = parse(bytes(request_of(names.BINDING, padding=bytes(size))))
        reply = answer(request, SOURCE, PLACES.primary, PLACES).message
        assert len(reply) <= MAX_BYTES
        assert len(stun.parse_message(reply).attributes["PADDING"]) <= size
    assert len(reply) == MAX_BYTES


def test_padding_and_a_response_port_do_not_go_together() -> None:
    message, _, destination = ask(padding=bytes(400), response_port=50000)
    assert message.error_code == 400
    assert destination == SOURCE
    assert "PADDING" not in message.attributes


@pytest.mark.parametrize("place, places", [(None, PLACES), (None, None), (PLACES.primary, None)])
@pytest.mark.parametrize(
    "attribute, number",
    [({"change_request": 0}, 0x0003), ({"response_port": 50000}, 0x0027), ({"padding": bytes(8)}, 0x0026)],
)
def test_with_one_address_the_attributes_are_unknown(
    place: Address | None, places: Places | None, attribute: dict[str, Any], number: int
) -> None:
    message, origin, destination = ask(place, places, **attribute)
    assert message.error_code == 420
    assert message.attributes["UNKNOWN-ATTRIBUTES"] == number.to_bytes(2, "big")
    assert (origin, destination) == (None, SOURCE)
    plain, _, _ = ask(place, places)
    assert list(plain.attributes) == ["XOR-MAPPED-ADDRESS"]


def test_an_attribute_that_nobody_knows_is_420() -> None:
    request = bytearray(bytes(request_of(names.BINDING, padding=b"abcd")))
    request[20:22] = b"\x77\x77"
    reply = answer(parse(bytes(request)), SOURCE, PLACES.primary, PLACES)
    assert stun.parse_message(reply.message).attributes["UNKNOWN-ATTRIBUTES"] == b"\x77\x77"


@pytest.mark.parametrize("value", [b"", b"\0\0\0", bytes(8)])
@pytest.mark.parametrize("number", [names.CHANGE_REQUEST, names.RESPONSE_PORT])
def test_a_value_of_the_wrong_length_is_400(number: int, value: bytes) -> None:
    padded = value + bytes(-len(value) % 4)
    body = number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + padded
    request = b"\0\1" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + body
    reply = answer(parse(request), SOURCE, PLACES.primary, PLACES)
    assert stun.parse_message(reply.message).error_code == 400


def test_answers_to_the_unproven_are_hardly_larger_than_requests() -> None:
    """With the headers of IP and UDP, which both pay."""
    for places, source, headers in ((PLACES, SOURCE, 28), (SIX, ("2001:db8::7", 4000), 48)):
        request = parse(bytes(request_of(names.BINDING)))
        reply = answer(request, source, places.primary, places).message
        assert len(reply) + headers <= 2.5 * (len(request.data) + headers)
    long = parse(bytes(request_of(names.BINDING, padding=bytes(1400))))
    assert len(answer(long, SOURCE, PLACES.primary, PLACES).message) < len(long.data) + 60


def test_a_plain_request_is_not_steered() -> None:
    assert not is_steered(parse(bytes(request_of(names.BINDING, software="plain"))))
    assert is_steered(parse(bytes(request_of(names.BINDING, change_request=0))))


@pytest.mark.parametrize(
    "alternate", [("203.0.113.9", 3479), ("203.0.113.10", 3478), ("2001:db8::9", 3479)], ids=["host", "port", "family"]
)
def test_places_that_are_not_four_are_refused(alternate: Address) -> None:
    with pytest.raises(ValueError):
        Places(PLACES.primary, alternate)


# --- the sockets ---


@dataclass
class Here:
    """The four places, the primary one being a worker's, or with a wildcard the primary port of both hosts."""

    worker: _worker.Worker
    sockets: DiscoverySockets
    places: Places
    now: float = 0.0

    def pump(self) -> None:
        for event in self.worker.take_events():
            assert event[0] == _worker.EVENT_REQUEST
            assert self.sockets.handle(Client(*event[1:6]), event[6])


@asynccontextmanager
async def four_places(bind: str = HOSTS[0]) -> AsyncIterator[Here]:
    worker = _worker.Worker(address=bind)
    worker.configure_relay(realm=REALM, nonce_key=bytes(32), answer_binding=False)
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        other_port = free.getsockname()[1]
    places = Places((HOSTS[0], worker.port), (HOSTS[1], other_port))
    sockets = DiscoverySockets(places, worker.reply, wildcard=bind != HOSTS[0], clock=lambda: here.now)
    here = Here(worker, sockets, places)
    loop = asyncio.get_running_loop()
    loop.add_reader(worker.fileno(), here.pump)
    sockets.open()
    try:
        yield here
    finally:
        loop.remove_reader(worker.fileno())
        sockets.close()
        worker.close()


class Asking(asyncio.DatagramProtocol):
    """A client's socket."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[stun.Message, Address]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.put_nowait((stun.parse_message(data), addr))

    async def hear(self) -> tuple[stun.Message, Address]:
        return await asyncio.wait_for(self.heard.get(), PATIENCE_S)


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[asyncio.DatagramTransport, Asking]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Asking, ("127.0.0.1", 0))
    try:
        yield transport, protocol
    finally:
        transport.close()


@pytest.mark.parametrize("bind", [HOSTS[0], "0.0.0.0", "::"])
async def test_every_place_answers_from_every_place(bind: str) -> None:
    async with four_places(bind) as here, asking() as (transport, client):
        source = transport.get_extra_info("sockname")
        for place, change in itertools.product(here.places.all, (0, CHANGE_HOST, CHANGE_PORT, 6)):
            here.now += 1
            request = request_of(names.BINDING, change_request=change)
            transport.sendto(bytes(request), place)
            message, origin = await client.hear()
            assert message.transaction_id == request.transaction_id
            assert origin == message.attributes["RESPONSE-ORIGIN"]
            assert origin == here.places.seen_from(place, host=bool(change & 4), port=bool(change & 2))
            assert message.attributes["XOR-MAPPED-ADDRESS"] == source


@pytest.mark.parametrize("bind", [HOSTS[0], "0.0.0.0", "::"])
async def test_a_response_port_and_padding_on_real_sockets(bind: str) -> None:
    async with four_places(bind) as here, asking() as (transport, _), asking() as (other, elsewhere):
        port = other.get_extra_info("sockname")[1]
        for place in here.places.all:
            transport.sendto(bytes(request_of(names.BINDING, response_port=port)), place)
            message, origin = await elsewhere.hear()
            assert origin == place
            assert message.attributes["XOR-MAPPED-ADDRESS"] == transport.get_extra_info("sockname")
            size = 100 if place[1] == here.places.primary[1] else 1400  # the gate's budget would have us wait
            other.sendto(bytes(request_of(names.BINDING, padding=bytes(size))), place)
            message, origin = await elsewhere.hear()
            assert origin == place
            assert len(message.attributes["PADDING"]) == size


async def test_one_address_is_answered_only_so_often_and_plain_requests_to_the_plane_are_its_own_matter() -> None:
    async with four_places() as here, asking() as (transport, client):
        for _ in range(int(BURST) + 20):
            transport.sendto(bytes(request_of(names.BINDING)), here.places.alternate)
        await until(lambda: here.sockets.counters.limited == 20)
        assert here.sockets.counters.answered == BURST
        for _ in range(int(BURST)):
            await client.hear()
        transport.sendto(bytes(request_of(names.BINDING, change_request=6)), here.places.primary)
        await until(lambda: here.sockets.counters.limited == 21)
        transport.sendto(bytes(request_of(names.BINDING)), here.places.primary)
        assert (await client.hear())[1] == here.places.primary
        here.now += 1
        transport.sendto(bytes(request_of(names.BINDING, change_request=6)), here.places.primary)
        assert (await client.hear())[1] == here.places.alternate


async def test_what_is_no_binding_request_is_not_answered() -> None:
    async with four_places() as here, asking() as (transport, client):
        good = bytes(request_of(names.BINDING))
        for bad in (b"", b"\0\1", good[:-1], b"\0\3" + good[2:], b"\1\1" + good[2:], b"\0\x11" + good[2:], good * 2):
            transport.sendto(bad, here.places.alternate)
        transport.sendto(good, here.places.alternate)
        message, _ = await client.hear()
        assert message.transaction_id == stun.parse_message(good).transaction_id
        assert not here.sockets.handle(Client(0, *SOURCE), b"\0\3" + good[2:])  # that is the server's
        assert client.heard.empty()


async def test_over_a_stream_and_with_one_address_binding_is_plain() -> None:
    replies: list[tuple[Client, bytes]] = []
    for places, client in (
        (PLACES, Client(7, *SOURCE, *PLACES.primary)),
        (None, Client(0, *SOURCE)),
        (PLACES, Client(0, *SOURCE, "203.0.113.77", 3478)),  # yet another address of this machine
    ):
        sockets = DiscoverySockets(places, lambda *given: replies.append(given), wildcard=True)
        for attributes, code in (({}, None), ({"change_request": 2}, 420)):
            assert sockets.handle(client, bytes(request_of(names.BINDING, **attributes)))
            recipient, reply = replies.pop()
            assert recipient == client
            assert stun.parse_message(reply).error_code == code


async def test_translated_hosts_are_named_as_clients_see_them() -> None:
    replies: list[tuple[Client, bytes]] = []
    inside = {"203.0.113.9": "10.0.0.9", "203.0.113.10": "10.0.0.10"}
    sockets = DiscoverySockets(PLACES, lambda *given: replies.append(given), wildcard=True, bound=inside.__getitem__)
    asked = Client(0, *SOURCE, "10.0.0.10", 3478)
    assert sockets.handle(asked, bytes(request_of(names.BINDING, change_request=CHANGE_HOST)))
    recipient, reply = replies.pop()
    assert recipient == Client(0, *SOURCE, "10.0.0.9", 0)
    message = stun.parse_message(reply)
    assert message.attributes["RESPONSE-ORIGIN"] == ("203.0.113.9", 3478)
    assert message.attributes["OTHER-ADDRESS"] == ("203.0.113.9", 3479)


async def test_when_one_port_is_taken_none_is_open() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind((HOSTS[1], 0))
        port = taken.getsockname()[1]
        places = Places((HOSTS[0], port + 1 if port < 65535 else port - 1), (HOSTS[1], port))
        sockets = DiscoverySockets(places, lambda client, message: None)
        with pytest.raises(OSError):
            sockets.open()
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind((HOSTS[0], port))


# --- a foreign client ---


@pytest.mark.skipif(shutil.which("turnutils_natdiscovery") is None, reason="needs coturn's tools")
@pytest.mark.parametrize("bind", [HOSTS[0], "0.0.0.0", "::"])
@pytest.mark.parametrize(
    "options, finding",
    [(("-m",), b"NAT with Endpoint Independent Mapping!"), (("-f",), b"NAT with Endpoint Independent Filtering!")],
    ids=["mapping", "filtering"],
)
async def test_coturns_client_finds_out(bind: str, options: tuple[str, ...], finding: bytes) -> None:
    async with four_places(bind) as here:
        client = await asyncio.create_subprocess_exec(
            *("turnutils_natdiscovery", *options, "-p", str(here.places.primary[1]), "-L", HOSTS[0], HOSTS[0]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(client.communicate(), 3 * PATIENCE_S)
        assert finding in output
