"""Set-up as a row of steps, each done once and again only when what it was made from has changed.

A step is stamped with a digest of its inputs (files, versions) after it has succeeded, so an interrupted set-up
resumes at the step that was cut, and a finished one costs some milliseconds of hashing. A step cut in the middle of
the virtual environment may leave half a package behind, which pip would take for a whole one: the environment is then
made anew. One process at a time works; others wait for it. Standard library only.
"""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

LOG_TAIL_LINES = 25


class StepFailedError(Exception):
    """A command of the set-up failed; the text carries the end of its output and where the rest of it is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``commands`` (argv, working directory) make ``outputs`` (globs below the root) from ``inputs``.

    A string among the inputs counts as itself, a path by its name and content.
    """

    name: str
    title: str
    inputs: tuple[str | Path, ...]
    outputs: tuple[str, ...]
    commands: Callable[[], Sequence[tuple[Sequence[str], Path]]]
    ground: bool = False  # done anew, all others must be as well
    fragile: bool = False  # cut in the middle, it spoils the ground
    covers: tuple["Step", ...] = ()  # done as well when this one is


class Workshop:
    """The checkout being set up: its stamps, lock, logs and progress lines, all in ``root/.setup``."""

    def __init__(self, root: Path, out: TextIO | None = None) -> None:
        self.root = root
        self._out = out or sys.stdout
        self._home = root / ".setup"
        self._stamps = self._home / "stamps.json"
        self._lock_fd: int | None = None
        self._environment = {key: value for key, value in os.environ.items() if key not in {"WADUD_EXT", "PYTHONHOME"}}
        self._environment["DEBIAN_FRONTEND"] = "noninteractive"

    def digest(self, step: Step) -> str:
        """Hex digest of everything the step is made from."""
        sha = hashlib.sha256()
        for item in step.inputs:
            if isinstance(item, Path):
                content = item.read_bytes() if item.exists() else b""
                sha.update(f"{item.relative_to(self.root)}:{len(content)}:".encode())
                sha.update(content)
            else:
                sha.update(f"{len(item)}:{item}".encode())
        return sha.hexdigest()

    def fresh(self, step: Step) -> bool:
        """Whether the step was finished with today's inputs, what it covers was not done with others since, and what it
        made is still there."""
        stamps = self._read()
        if any(stamps.get(each.name) != self.digest(each) for each in (step, *step.covers)):
            return False
        if step.fragile and "running" in stamps:
            return False
        return all(any(self.root.glob(pattern)) for pattern in step.outputs)

    def interrupted(self) -> bool:
        """Whether a fragile step was cut in the middle."""
        return "running" in self._read()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the checkout against other set-ups; waits for one that is under way."""
        self._home.mkdir(exist_ok=True)
        with (self._home / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say("Another set-up is at work in this checkout; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
            self._lock_fd = file.fileno()
            try:
                yield
            finally:
                self._lock_fd = None

    def perform(self, step: Step, number: str = "") -> None:
        """Runs the step and stamps it.

        Raises:
            StepFailedError: one of its commands failed; the step stays unstamped.
        """
        commands = step.commands()
        done = {
            each.name: self.digest(each) for each in (step, *step.covers)
        }  # now: a file edited meanwhile counts as new
        stamps = {} if step.ground else {name: stamp for name, stamp in self._read().items() if name not in done}
        if step.fragile:
            stamps["running"] = step.name
        self._write(stamps)
        try:
            self.run(f"{number}{step.title}", step.name, commands)
        except StepFailedError:
            stamps.pop("running", None)  # the command ended by itself and has tidied up
            self._write(stamps)
            raise
        stamps.pop("running", None)
        self._write({**stamps, **done})

    def run(self, title: str, log_name: str, commands: Sequence[tuple[Sequence[str], Path]]) -> None:
        """Runs commands under one progress line; their output goes to ``.setup/<log_name>.log``.

        Raises:
            StepFailedError: a command could not be started or ended with another status than 0.
        """
        started = time.monotonic()
        self._home.mkdir(exist_ok=True)
        path = self._home / f"{log_name}.log"
        self.say(f"{title} ...", end="")
        with path.open("w") as log:
            for argv, directory in commands:
                log.write(f"$ {' '.join(argv)}\n")
                log.flush()
                status = self._supervise(argv, directory, log, title, started)
                if status != 0:
                    self.say(f" failed after {time.monotonic() - started:.1f} s")
                    tail = "\n".join(path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
                    raise StepFailedError(
                        f"{tail}\n\n{title} failed with status {status}; the whole output is in {path}"
                    )
        self.say(f"{self._rewind(title)} {time.monotonic() - started:.1f} s")

    def _supervise(self, argv: Sequence[str], directory: Path, log: TextIO, title: str, started: float) -> int:
        # The child keeps the lock open too: should we be killed, the next set-up still waits for it.
        inherited = () if self._lock_fd is None else (self._lock_fd,)
        try:
            process = subprocess.Popen(
                argv,
                cwd=directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                process_group=0,
            )
        except OSError as error:
            log.write(f"{error}\n")
            log.flush()
            return 127
        status: int | None = None
        try:
            while status is None:
                try:
                    status = process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    if self._out.isatty():
                        self.say(f"{self._rewind(title)} {time.monotonic() - started:.0f} s", end="")
        finally:
            if status != 0:  # its children hold the lock as well, and some would outlive it
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        return status

    def _rewind(self, title: str) -> str:
        return f"\r{title} ..." if self._out.isatty() else ""

    def say(self, text: str, end: str = "\n") -> None:
        self._out.write(text + end)
        self._out.flush()

    def _read(self) -> dict[str, str]:
        try:
            stamps = json.loads(self._stamps.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return stamps if isinstance(stamps, dict) else {}

    def _write(self, stamps: Mapping[str, str]) -> None:
        self._home.mkdir(exist_ok=True)
        temporary = self._stamps.with_suffix(".new")
        temporary.write_text(json.dumps(stamps, indent=1) + "\n")
        temporary.replace(self._stamps)
