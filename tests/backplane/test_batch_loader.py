"""Questions are asked together, none is answered from before it was asked, and none is lost."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from backplane.batch_loader import MOST_AT_ONCE, BatchLoader


class Book:
    """Answers when it is let; remembers what was asked at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []
        self.value = "old"
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def find(self, place: str, keys: Sequence[int]) -> Mapping[int, str]:
        self.asked.append((place, sorted(keys)))
        value = self.value
        await self.gate.wait()
        if self.error:
            raise self.error
        return {key: value for key in keys if key > 0}


async def started(*questions: "asyncio.Task[str | None]") -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_comes_while_a_question_is_under_way_waits_for_the_next_and_gets_what_is_then_there() -> None:
    book = Book()
    loader = BatchLoader(book.find)
    first = asyncio.create_task(loader.find("here", 1))
    await started(first)
    book.value = "new"
    others = [asyncio.create_task(loader.find("here", key)) for key in (2, 1, 2, -1)]
    await started(*others)
    book.gate.set()
    assert await first == "old"
    assert await asyncio.gather(*others) == ["new", "new", "new", None]
    assert book.asked == [("here", [1]), ("here", [-1, 1, 2])]


async def test_places_do_not_wait_for_each_other_and_are_not_mixed() -> None:
    book = Book()
    loader = BatchLoader(book.find)
    both = [asyncio.create_task(loader.find(place, 1)) for place in ("here", "there")]
    await started(*both)
    assert book.asked == [("here", [1]), ("there", [1])]
    book.gate.set()
    await asyncio.gather(*both)


async def test_an_error_reaches_all_who_were_asked_for_and_nobody_else() -> None:
    book = Book()
    book.gate.set()
    book.error = OSError("away")
    loader = BatchLoader(book.find)
    found = await asyncio.gather(*(loader.find("here", key) for key in (1, 2)), return_exceptions=True)
    assert [type(each) for each in found] == [OSError, OSError]
    book.error = None
    assert await loader.find("here", 1) == "old"


async def test_who_gives_up_spoils_it_for_nobody() -> None:
    book = Book()
    loader = BatchLoader(book.find)
    tasks = [asyncio.create_task(loader.find("here", key)) for key in (1, 2, 3)]
    await started(*tasks)
    tasks[0].cancel()
    tasks[2].cancel()
    book.gate.set()
    assert await tasks[1] == "old"
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_a_crowd_is_asked_for_in_bounded_parts() -> None:
    book = Book()
    book.gate.set()
    loader = BatchLoader(book.find)
    found = await asyncio.gather(*(loader.find("here", key) for key in range(1, 2 * MOST_AT_ONCE)))
    assert set(found) == {"old"}
    assert max(len(keys) for _, keys in book.asked) <= MOST_AT_ONCE
