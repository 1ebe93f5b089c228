"""A stranger's first minutes: a fresh clone, one command, a server that answers, Ctrl-C."""

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import clock

FIRST_START_S = 180.0
NEXT_START_S = 3.0
STOP_S = 5.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Server:
    """One run of bin/serve: what it has printed so far, and since when it runs."""

    process: subprocess.Popen[str]
    started: float = field(default_factory=clock.now)
    lines: list[str] = field(default_factory=list)

    def wait_until_ready(self) -> tuple[str, float]:
        """Address from the ready line and the seconds it took."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if ready := re.fullmatch(r"Wadud is ready: (http://\S+)", self.lines[-1]):
                return ready[1], clock.now() - self.started
        pytest.fail("bin/serve ended before it was ready:\n" + "\n".join(self.lines))

    def press_ctrl_c(self) -> tuple[int, float]:
        """Exit status and the seconds until it was there."""
        pressed = clock.now()
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=60), clock.now() - pressed


@contextmanager
def serve(clone: Path, data: Path) -> Iterator[Server]:
    """bin/serve as a terminal runs it: in a process group of its own, from a directory that is not the checkout."""
    process = subprocess.Popen(
        [clone / "bin" / "serve", "--port", "0", "--media-port", "0", "--data", data],
        cwd=clone.parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # the harder case: no start leaves the next one anything
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        yield Server(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return int(answer.status)


def test_a_fresh_clone_serves_after_one_command_and_starts_at_once_the_next_time(root: Path, tmp_path: Path) -> None:
    clone = tmp_path / "wadud"
    subprocess.run(["git", "clone", "--quiet", root, clone], check=True)

    with serve(clone, tmp_path / "one") as first, serve(clone, tmp_path / "two") as second:
        address, seconds = first.wait_until_ready()
        other_address, _ = second.wait_until_ready()
        assert seconds < FIRST_START_S
        assert address != other_address
        told = [line for server in (first, second) for line in server.lines]
        built = [line for line in told if re.search(r"Compiled packet path \.\.\. [\d.]+ s$", line.rstrip())]
        assert len(built) == 1, "only one of the two sets up"
        assert sum("waiting for it" in line for line in told) == 1
        assert get(f"{address}/") == get(f"{address}/healthz") == get(f"{other_address}/healthz") == 200
        for server in (first, second):
            status, seconds = server.press_ctrl_c()
            assert (status, seconds < STOP_S) == (0, True)
            assert server.process.stdout is not None
            assert "Traceback" not in server.process.stdout.read()

    with serve(clone, tmp_path / "one") as again:
        address, seconds = again.wait_until_ready()
        assert seconds < NEXT_START_S
        assert not any("Setting up" in line for line in again.lines)
        assert get(f"{address}/healthz") == 200
        assert again.press_ctrl_c()[0] == 0
