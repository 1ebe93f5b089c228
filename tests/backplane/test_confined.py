"""Work over strangers' bytes in a process of its own: what comes back, and what ends it."""

import asyncio
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backplane import logs
from backplane.confined import Confined, Failed, Limits, TooCostly
from tests.support import confined

SHORT = Limits(wall_s=3.0, cpu_s=1, memory_bytes=64 << 20, result_bytes=100_000)


async def test_the_result_comes_back_whole() -> None:
    given = os.urandom(3 << 20)
    assert await Confined(confined.backwards, Limits()).run(given) == given[::-1]


@pytest.mark.parametrize(
    ("function", "given", "limits", "why"),
    [
        (confined.for_ever, b"", SHORT, "time"),
        (confined.asleep, b"", Limits(wall_s=0.2), "time"),
        (confined.all_memory, b"", SHORT, "memory"),
        (confined.much, b"100001", SHORT, "result"),
    ],
)
async def test_too_costly_work_is_ended(
    function: Callable[[bytes], bytes], given: bytes, limits: Limits, why: str
) -> None:
    with pytest.raises(TooCostly, match=why):
        await Confined(function, limits).run(given)


@pytest.mark.parametrize("function", [confined.stumble, confined.crash])
async def test_a_fault_of_ours_is_told_and_logged_without_its_text(function: Callable[[bytes], bytes]) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    before = root.handlers[:]
    logs.configure("info", stream)
    try:
        with pytest.raises(Failed):
            await Confined(function, SHORT).run(b"secret")
    finally:
        root.handlers[:] = before
    assert "confined function failed" in stream.getvalue()
    assert "secret" not in stream.getvalue()
    if function is confined.stumble:
        assert "ValueError" in stream.getvalue()
        assert "stumble" in stream.getvalue()


async def test_nothing_of_the_server_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WADUD_RELAY_SECRET", "secret")
    with (tmp_path / "database").open("w") as opened:
        os.set_inheritable(opened.fileno(), True)
        seen = (await Confined(confined.inheritance, SHORT).run(b"")).decode()
    assert "WADUD" not in seen
    assert "database" not in seen


async def test_no_large_file_can_be_left_behind(tmp_path: Path) -> None:
    with pytest.raises(Failed):
        await Confined(confined.write, SHORT).run(bytes(tmp_path / "left"))
    assert (tmp_path / "left").stat().st_size <= SHORT.result_bytes


async def test_a_caller_who_is_cancelled_leaves_no_process_behind() -> None:
    work = Confined(confined.asleep, Limits(wall_s=60), at_once=1)
    asked = asyncio.create_task(work.run(b""))
    while not (children := _children()):  # noqa: ASYNC110 (the kernel tells nobody)
        await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    async with asyncio.timeout(5):
        while children & _children():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _children() -> set[int]:
    """Confined processes of this one, those that ended and were waited for no more."""
    found = set()
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"backplane.confined" in (each / "cmdline").read_bytes():
                found.add(int(each.name))
        except (OSError, IndexError):
            continue
    return found
