"""A full disk, as the kernel and Postgres say it."""

import errno
import os
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.metrics import Metrics
from backplane.postgres import Database, DatabaseUnavailable
from backplane.storage import REMEMBERED_S, RESERVE_BYTES, Storage, is_full, problem_of
from backplane.web import STORAGE, Readiness, application

FULL = [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), asyncpg.DiskFullError("could not extend file")]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
async def test_whoever_meets_a_full_disk_is_answered_503(error: Exception) -> None:
    async def write(_: web.Request) -> web.Response:
        raise error

    storage = Storage()
    app = application(Metrics(), Readiness(lambda: {"has_room": storage.has_room()}))
    app[STORAGE] = storage
    app.router.add_post("/", write)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/readyz")).status == 200
        answer = await client.post("/")
        assert (answer.status, (await answer.json())["code"]) == (503, "storage_full")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await client.get("/readyz")).status == 503


def test_other_errors_are_none_of_it() -> None:
    assert problem_of(OSError(errno.EACCES, "no")) is None
    assert problem_of(ValueError("no")) is None


def test_a_refusal_is_remembered_for_a_moment() -> None:
    now = 100.0
    storage = Storage(clock=lambda: now)
    assert storage.has_room()
    storage.refused()
    assert not storage.has_room()
    now += REMEMBERED_S
    assert storage.has_room()


def test_room_is_looked_for_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free: dict[str, Any] = {}
    monkeypatch.setattr(os, "statvfs", lambda _: type("Found", (), {"f_bavail": free["bytes"], "f_frsize": 1})())
    for bytes_, room in ((RESERVE_BYTES, True), (RESERVE_BYTES - 1, False), (0, False)):
        free["bytes"] = bytes_
        assert Storage(tmp_path).has_room() is room
    monkeypatch.undo()
    assert not Storage(tmp_path / "gone").has_room()


async def test_a_database_without_room_is_away_for_now(database: Database) -> None:
    """Who waits for a database that is away waits for room in the same way: no job and no event is given up."""
    with pytest.raises(DatabaseUnavailable) as refused:
        async with database.platform() as connection:
            await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$")
    answer = problem_of(refused.value)
    assert answer is not None
    assert (answer.status, answer.code) == (503, "storage_full")
    assert is_full(refused.value)
    async with database.platform() as connection:
        assert await connection.fetchval("SELECT 1") == 1
