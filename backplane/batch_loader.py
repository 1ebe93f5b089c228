"""Questions that come while another is under way are asked together: one statement for many requests.

A statement costs the database and us far more than a row, so the busier the server the more rows each statement
fetches, and the less a row costs. Who asks alone is answered as fast as without this. Nobody gets an answer from before
their question: what came in while a statement ran waits for the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)
Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")

MOST_AT_ONCE: Final = 200


class BatchLoader(Generic[Place, Key, Found]):
    """``find`` looks up many keys of one place (a tenant, say); keys that it does not return are not there."""

    def __init__(self, find: Callable[[Place, Sequence[Key]], Awaitable[Mapping[Key, Found]]]) -> None:
        self._find = find
        self._waiting: dict[Place, list[tuple[Key, asyncio.Future[Found | None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, place: Place, key: Key) -> Found | None:
        """What is there now, or None. Raises what ``find`` raises, to all who were asked for together."""
        answer: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(place)
        if waiting is not None:
            waiting.append((key, answer))
        else:
            self._waiting[place] = [(key, answer)]
            task = asyncio.create_task(self._ask(place))
            self._tasks.add(task)  # the loop itself keeps no hold of it
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _ask(self, place: Place) -> None:
        while waiting := self._waiting[place]:
            asked, self._waiting[place] = waiting[:MOST_AT_ONCE], waiting[MOST_AT_ONCE:]
            try:
                found = await self._find(place, list({key for key, _ in asked}))
            except Exception as error:
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
            except BaseException:  # the server ends
                for _, answer in asked + self._waiting.pop(place):
                    answer.cancel()
                raise
            else:
                for key, answer in asked:
                    if not answer.done():
                        answer.set_result(found.get(key))
        del self._waiting[place]
