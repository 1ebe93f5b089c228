"""What `booking.py` measures: a durable Postgres, a Redis, and whole server processes beside them."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane import embedded_postgres
from benchmarks import process

SERVER_CPU, LOAD_CPU = 0, 1
ROOT: Final = Path(__file__).resolve().parent.parent
_START_S: Final = 60.0
_READY: Final = "Wadud is ready: "


@dataclass(frozen=True, slots=True)
class World:
    """``url``: of the database. ``pids`` and ``ports``: of the servers; all of them have their data in ``data``."""

    url: str
    redis_url: str
    data: Path
    supervisor: int
    """Process id of what runs Postgres."""
    pids: list[int]
    ports: list[int]
    logs: list[Path]


@contextlib.contextmanager
def world(servers: int) -> Iterator[World]:
    """Everything running until the block ends; the servers have migrated the database. RuntimeError: no start."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wadud-booking-")))
        directory.chmod(0o711)
        cluster = stack.enter_context(embedded_postgres.running(directory / "postgres"))
        redis_url = stack.enter_context(_redis(directory))
        data = directory / "data"
        data.mkdir()
        started, logs = [], []
        for number in range(servers):
            logs.append(directory / f"server{number}.log")
            command = [sys.executable, "-m", "server.main", "--port", "0", "--data", str(data), "--workers", "1"]
            environment = {
                "WADUD_POSTGRES_URL": cluster.url(),
                "WADUD_REDIS_URL": redis_url,
                "WADUD_BASE_URL": "http://localhost",
            }
            server = process.start(command, SERVER_CPU, logs[-1], ROOT, environment)
            stack.callback(process.stop, server)
            started.append((server.pid, _port(server, logs[-1])))
        spread([pid for pid, _ in started])
        yield World(
            cluster.url(),
            redis_url,
            data,
            cluster.supervisor.pid,
            [pid for pid, _ in started],
            [port for _, port in started],
            logs,
        )


@contextlib.contextmanager
def bare(size: int) -> Iterator[tuple[int, int]]:
    """Process id and port of the bare handler, on the server's core."""
    with tempfile.TemporaryDirectory(prefix="wadud-bare-") as directory:
        command = [sys.executable, "-m", "benchmarks.bare", str(size)]
        server = process.start(command, SERVER_CPU, Path(directory) / "log", ROOT)
        try:
            assert server.stdout is not None
            yield server.pid, int(server.stdout.readline())
        finally:
            process.stop(server)


def postgres_cpu_s(world: World) -> float:
    """CPU time of all processes of Postgres that live; connections are kept, so hardly one ends meanwhile."""
    found, new = {world.supervisor}, {world.supervisor}
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    total = 0.0
    for pid in found:
        with contextlib.suppress(OSError):
            total += process.cpu_s(pid)
    return total


def pin(pid: int, cpus: set[int]) -> None:
    """Every thread of the process to these cores, and those that they start later."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cpus)


def spread(pids: list[int]) -> None:
    """Lets the processes run wherever this machine likes."""
    for pid in pids:
        pin(pid, set(range(os.cpu_count() or 1)))


def busy_share(seconds: float = 1.0) -> float:
    """How much of the machine is at work now. While nothing is asked of our servers, that is others' work."""
    cores = range(os.cpu_count() or 1)
    before = sum(process.core_times(cpu).busy for cpu in cores)
    time.sleep(seconds)
    return (sum(process.core_times(cpu).busy for cpu in cores) - before) / seconds / len(cores)


def _port(server: "subprocess.Popen[bytes]", log: Path) -> int:
    assert server.stdout is not None
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        line = server.stdout.readline().decode()
        if line.startswith(_READY):
            return int(line.rpartition(":")[2])
        if not line:
            break
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def _redis(directory: Path) -> Iterator[str]:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise RuntimeError("Redis is not installed: install the package redis-server")
    path = directory / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([binary, *options], cwd=directory, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(path))
                break
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        server.terminate()
        server.wait()
