"""The hub with topics of the test's own: resume, one reading for all, faults that stay alone, rights that end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import ClientWebSocketResponse
from aiohttp.test_utils import TestClient, TestServer
from msgspec import Struct

from backplane.bus import LocalBus
from backplane.metrics import Metrics
from backplane.postgres import Connection, Database
from backplane.web import Readiness, application
from live.hub import Hub
from live.messages import SUBPROTOCOL
from live.notes import note
from live.tickets import Ticket, Tickets
from live.topics import Gone, Items, Round, Topic

NOW: Final = datetime(2026, 11, 21, 10, tzinfo=UTC)
TENANT: Final = 1000
SUBJECT: Final = UUID(int=1)
ALI, SANA = UUID(int=2), UUID(int=3)
BOARD, CHAT, OWN = 1, 2, 3


class Board(Struct):
    text: str


class Line(Struct):
    number: int
    text: str


class Own(Struct):
    holder: UUID
    text: str


class Here:
    """Who is there, as the owner of a topic is told."""

    by_device = False

    def __init__(self) -> None:
        self.told: list[tuple[str, UUID]] = []
        self.left_all = asyncio.Event()

    async def arrived(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        self.told.append(("arrived", ticket.holder))
        return False

    async def left(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        self.told.append(("left", ticket.holder))
        self.left_all.set()
        return False

    async def still_here(self, connection: Connection, tickets: Sequence[Ticket], now: datetime) -> None: ...


class House:
    """Three topics of one subject, and what they show."""

    def __init__(self, database: Database) -> None:
        self.bus = LocalBus()
        self.text = "first"
        self.lines: list[str] = []
        self.board_reads = 0
        self.broken: UUID | None = None
        self.expelled: UUID | None = None
        self.here = Here()
        self.tickets = Tickets({0: b"k" * 32})
        topics = [
            Topic(BOARD, "board", self.board, personal=False),
            Topic(CHAT, "chat", self.chat, personal=False, presence=self.here),
            Topic(OWN, "own", self.own),
        ]
        self.metrics = Metrics()
        self.hub = Hub(database, self.bus, self.tickets, topics, lambda: NOW, self.metrics)
        self.client: TestClient[Any, Any] | None = None

    async def board(self, reading: Round, ticket: Ticket, after: int) -> Board:
        self.board_reads += 1
        return Board(self.text)

    async def chat(self, reading: Round, ticket: Ticket, after: int) -> Items:
        return Items(
            [Line(number, text) for number, text in enumerate(self.lines, 1) if number > after], len(self.lines)
        )

    async def own(self, reading: Round, ticket: Ticket, after: int) -> Own | Gone:
        if ticket.holder == self.broken:
            await reading.connection.execute("SELECT 1 / 0")  # aborts the transaction of all
        return Gone("gone") if ticket.holder == self.expelled else Own(ticket.holder, self.text)

    async def change(self, text: str) -> None:
        self.text = text
        await note(self.bus, TENANT, SUBJECT)

    async def say(self, text: str) -> None:
        self.lines.append(text)
        await note(self.bus, TENANT, SUBJECT)

    @asynccontextmanager
    async def page(self) -> AsyncIterator[ClientWebSocketResponse]:
        assert self.client is not None
        async with self.client.ws_connect("/", protocols=(SUBPROTOCOL,)) as socket:
            yield socket

    async def watch(
        self, socket: ClientWebSocketResponse, kind: int, who: UUID = ALI, *, id: int = 1, **more: Any
    ) -> dict[str, Any]:
        """Show a ticket; what comes first."""
        ticket = self.tickets.sign(Ticket(kind, TENANT, SUBJECT, SUBJECT, 0, who, who), NOW)
        await socket.send_json({"type": "watch", "id": id, "ticket": ticket, **more})
        return await heard(socket)


async def heard(socket: ClientWebSocketResponse) -> dict[str, Any]:
    message: dict[str, Any] = await socket.receive_json(timeout=5)
    return message


@pytest_asyncio.fixture
async def house(database: Database) -> AsyncIterator[House]:
    house = House(database)
    app = application(house.metrics, Readiness(dict))
    house.hub.install(app)
    app.router.add_get("/", house.hub.handle)
    async with house.hub.at_work(), TestClient(TestServer(app)) as client:
        house.client = client
        yield house
    await house.bus.close()


async def test_a_page_that_comes_back_hears_that_nothing_has_changed(house: House) -> None:
    async with house.page() as socket:
        first = await house.watch(socket, BOARD)
        assert (first["type"], first["board"]) == ("board", {"text": "first"})
    async with house.page() as socket:
        again = await house.watch(socket, BOARD, version=first["version"])
        assert again == {"type": "unchanged", "id": 1, "seq": 1}
        await house.change("second")
        assert (await heard(socket))["board"] == {"text": "second"}
    async with house.page() as socket:
        other = await house.watch(socket, BOARD, version=first["version"])
        assert other["board"] == {"text": "second"}
        assert other["version"] != first["version"]


async def test_items_are_pushed_once_and_a_page_that_comes_back_gets_what_it_has_not(house: House) -> None:
    house.lines = ["one", "two"]
    async with house.page() as socket:
        assert [line["text"] for line in (await house.watch(socket, CHAT))["chat"]] == ["one", "two"]
        await house.say("three")
        assert (await heard(socket))["chat"] == [{"number": 3, "text": "three"}]
        await house.change("of another topic")  # the same subject, and nothing new here
        await house.say("four")
        assert (await heard(socket))["chat"] == [{"number": 4, "text": "four"}]
    async with house.page() as socket:
        assert [line["text"] for line in (await house.watch(socket, CHAT, after=3))["chat"]] == ["four"]
    async with house.page() as socket:
        assert (await house.watch(socket, CHAT, after=4))["chat"] == [], "a page is told that it has everything"


async def test_one_socket_watches_several_topics_and_one_reading_serves_all_pages(house: House) -> None:
    async with house.page() as one, house.page() as other:
        await house.watch(one, BOARD)
        await house.watch(one, CHAT, id=2)
        await house.watch(other, BOARD, SANA)
        reads = house.board_reads
        await house.change("second")
        for socket in (one, other):
            pushed = await heard(socket)
            assert (pushed["type"], pushed["id"], pushed["board"]["text"]) == ("board", 1, "second")
        assert house.board_reads == reads + 1


async def test_a_fault_in_one_watch_ends_that_watch_alone(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async with house.page() as sana, house.page() as ali:
        await house.watch(sana, OWN, SANA)
        await house.watch(ali, OWN)
        await house.watch(ali, BOARD, id=2)
        house.broken = SANA
        await house.change("second")
        assert await heard(sana) == {"type": "bye", "id": 1, "seq": 2, "reason": "failed"}
        pushed = [await heard(ali), await heard(ali)]
        assert sorted(each["type"] for each in pushed) == ["board", "own"]
        house.broken = None
        await house.change("third")
        assert {(await heard(ali))["type"], (await heard(ali))["type"]} == {"board", "own"}
    assert "live view failed" in caplog.text
    assert house.metrics.registry.get_sample_value("wadud_live_ends_total", {"reason": "failed"}) == 1


async def test_a_right_that_ends_ends_its_watch_and_not_the_socket(house: House) -> None:
    async with house.page() as socket:
        await house.watch(socket, OWN, SANA)
        await house.watch(socket, BOARD, SANA, id=2)
        house.expelled = SANA
        await house.change("second")
        pushed = sorted([await heard(socket), await heard(socket)], key=lambda each: str(each["type"]))
        assert [each["type"] for each in pushed] == ["board", "bye"]
        assert pushed[1]["reason"] == "gone"
        house.expelled = None
        await house.change("third")
        assert (await heard(socket))["type"] == "board", "nothing is shown any more of what has ended"


async def test_the_owner_of_a_topic_hears_when_the_last_page_of_somebody_closes(house: House) -> None:
    async with house.page() as phone:
        await house.watch(phone, CHAT)
        async with house.page() as laptop:
            await house.watch(laptop, CHAT)
    await asyncio.wait_for(house.here.left_all.wait(), 5)
    assert house.here.told == [("arrived", ALI), ("arrived", ALI), ("left", ALI)]


async def test_a_ticket_of_no_topic_opens_nothing(house: House) -> None:
    ticket = Ticket(9, TENANT, SUBJECT, SUBJECT, 0, ALI, ALI)
    async with house.page() as socket:
        await socket.send_json({"type": "watch", "id": 1, "ticket": house.tickets.sign(ticket, NOW)})
        assert (await heard(socket))["code"] == "bad_ticket"


async def test_two_topics_of_one_kind_or_name_are_a_mistake(database: Database, house: House) -> None:
    for kind, name in ((BOARD, "other"), (9, "board")):
        topics = [Topic(BOARD, "board", house.board), Topic(kind, name, house.board)]
        with pytest.raises(ValueError, match="one of them"):
            Hub(database, house.bus, house.tickets, topics, lambda: NOW, Metrics())
