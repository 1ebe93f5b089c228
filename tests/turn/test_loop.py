"""The thin shell of the relay: what goes wrong in one round does not end the next."""

import asyncio
from typing import cast

import pytest

from turn import loop
from turn.loop import RelayLoop
from turn.node import RelayNode


class FaultyNode:
    """Fails once."""

    def __init__(self) -> None:
        self.sweeps = 0
        self.swept_again = asyncio.Event()

    def sweep(self, now: float) -> None:
        self.sweeps += 1
        if self.sweeps == 1:
            raise KeyError(now)
        self.swept_again.set()


async def test_a_sweep_that_fails_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SWEEP_S", 0.001)
    node = FaultyNode()
    with RelayLoop(cast(RelayNode, node), []).running():
        async with asyncio.timeout(10):
            await node.swept_again.wait()
