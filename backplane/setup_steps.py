"""Set-up as a row of steps, each done once and again only when what it was made from has changed.

A step is stamped with a digest of its inputs (files, versions) after it has succeeded, so an interrupted set-up
resumes at what was cut, and a finished one costs some milliseconds of hashing. A step cut in the middle of
the virtual environment may leave half a package behind, which pip would take for a whole one: the environment is then
made anew. Steps that do not build on each other run side by side. One process at a time sets up; others wait for it.
Standard library only.
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
from functools import partial
from pathlib import Path
from typing import TextIO

LOG_TAIL_LINES = 25
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}
_LOOK_S = 0.1  # how often what runs beside the oldest job is looked at


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
    ground: bool = False  # done anew, all others must be as well, but those it comes after
    fragile: bool = False  # cut in the middle, it spoils the ground
    covers: tuple["Step", ...] = ()  # done as well when this one is
    after: tuple[str, ...] = ()  # names of those of the plan that are done first


class _Job:
    """Commands that run one after the other, with their output in one file. ``begin`` before the first, ``end`` with
    whether all have succeeded."""

    def __init__(
        self,
        title: str,
        log: Path,
        commands: Sequence[tuple[Sequence[str], Path]],
        begin: Callable[[], None] = lambda: None,
        end: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.title, self.log, self.end = title, log, end
        self.started = 0.0
        self.status = 0
        self._begin, self._commands = begin, list(commands)
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: Mapping[str, str] = {}
        self._inherited: tuple[int, ...] = ()

    def start(self, environment: Mapping[str, str], inherited: tuple[int, ...]) -> None:
        """``inherited``: descriptors that the commands get too."""
        self._environment, self._inherited = environment, inherited
        self.started = time.monotonic()
        self.log.write_bytes(b"")
        self._begin()
        self._next()

    def wait(self, timeout_s: float | None = None) -> None:
        """For the end of the command that runs."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)

    def ended(self) -> bool:
        """Whether nothing is left to do; starts the next command."""
        while self._process is not None and (status := self._process.poll()) is not None:
            if status != 0:
                self._fail(status)
            else:
                self._next()
        return self._process is None

    def terminate(self) -> None:
        """Asks the command that runs to end, with its children: they hold the lock as well and might outlive it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def _next(self) -> None:
        self._process = None
        if not self._commands:
            return
        argv, directory = self._commands.pop(0)
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(argv)}\n")
            log.flush()
            signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)  # between its start and our knowing of it
            try:
                self._process = subprocess.Popen(
                    argv,
                    cwd=directory,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=self._inherited,
                    process_group=0,
                    preexec_fn=_let_interrupts,
                )
            except OSError as error:
                log.write(f"{error}\n")
                self.status = 127
            finally:
                _let_interrupts()

    def _fail(self, status: int) -> None:
        self.terminate()
        self._process, self.status = None, status


def _let_interrupts() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


class Workshop:
    """The checkout being set up: its stamps, lock, logs and progress lines, all in ``root/.setup``."""

    def __init__(self, root: Path, out: TextIO | None = None) -> None:
        self.root = root
        self._out = out or sys.stdout
        self._home = root / ".setup"
        self._stamps = self._home / "stamps.json"
        self._lock_fd: int | None = None
        self._line = ""  # that is open
        self._environment = {key: value for key, value in os.environ.items() if key not in {"WADUD_EXT", "PYTHONHOME"}}
        self._environment["DEBIAN_FRONTEND"] = "noninteractive"
        self._environment.pop("VIRTUAL_ENV", None)  # of whoever called us

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

    def perform_stale(self, steps: Sequence[Step]) -> None:
        """Runs the stale ones among all steps of a plan, side by side, each when those named by its ``after`` are done.

        Raises:
            StepFailedError: a command failed; no step begins after that, but those under way are carried through.
            ValueError: steps wait for each other.
        """
        waiting = list(enumerate(steps, 1))
        busy = {step.name for step in steps}  # waits or runs

        def startable() -> Iterator[_Job]:
            found_fresh = True  # which others may have waited for
            while found_fresh:
                found_fresh = False
                for number, step in waiting[:]:
                    if busy.intersection(step.after):
                        continue
                    waiting.remove((number, step))
                    if self.fresh(step):
                        busy.discard(step.name)
                        found_fresh = True
                    else:
                        yield self._job(step, f"[{number}/{len(steps)}] ", partial(busy.discard, step.name))

        self._carry_out(startable)
        if waiting:
            raise ValueError(f"steps that wait for each other: {', '.join(step.name for _, step in waiting)}")

    def run(self, title: str, log_name: str, commands: Sequence[tuple[Sequence[str], Path]]) -> None:
        """Runs commands under one progress line; their output goes to ``.setup/<log_name>.log``.

        Raises:
            StepFailedError: a command could not be started or ended with another status than 0.
        """
        jobs = iter([_Job(title, self._home / f"{log_name}.log", commands)])
        self._carry_out(lambda: jobs)

    def _job(self, step: Step, number: str, then: Callable[[], None]) -> _Job:
        """The step as a job that keeps the stamps; ``then`` is called when it has succeeded."""
        digests: dict[str, str] = {}

        def begin() -> None:
            # Now: a file that is edited meanwhile counts as new.
            digests.update({each.name: self.digest(each) for each in (step, *step.covers)})
            stamps = self._read()
            stays = [name for name in stamps if name not in digests and (not step.ground or name in step.after)]
            kept = {name: stamps[name] for name in stays}
            self._write({**kept, "running": step.name} if step.fragile else kept)

        def end(succeeded: bool) -> None:  # also where a command has failed: it ended by itself and has tidied up
            kept = {name: stamp for name, stamp in self._read().items() if not (step.fragile and name == "running")}
            self._write({**kept, **digests} if succeeded else kept)
            if succeeded:
                then()

        return _Job(f"{number}{step.title}", self._home / f"{step.name}.log", step.commands(), begin, end)

    def _carry_out(self, startable: Callable[[], Iterator[_Job]]) -> None:
        """Runs what ``startable`` yields, side by side, and asks it anew whenever something has ended."""
        running: list[_Job] = []
        failures: list[str] = []
        try:
            ended = True
            while ended or running:
                for job in startable() if ended and not failures else ():
                    self._home.mkdir(exist_ok=True)
                    running.append(job)
                    self._show(job, "")
                    # The children keep the lock open too: should we be killed, the next set-up still waits for them.
                    job.start(self._environment, () if self._lock_fd is None else (self._lock_fd,))
                if running:
                    running[0].wait(_LOOK_S)
                ended = False
                for job in [each for each in running if each.ended()]:
                    running.remove(job)
                    ended = True
                    failures += self._ended(job)
                if running and self._out.isatty():
                    self._show(running[0], f" {time.monotonic() - running[0].started:.0f} s")
        except BaseException:
            for job in running:
                job.terminate()
            for text in failures:  # what was to be told at the end
                self.say(f"\n{text}")
            for job in running:
                job.wait()
            raise
        if failures:
            raise StepFailedError("\n\n".join(failures))

    def _ended(self, job: _Job) -> list[str]:
        """Tells how the job has ended; why, where it failed."""
        took_s = time.monotonic() - job.started
        succeeded = job.status == 0
        self._show(job, f" {took_s:.1f} s" if succeeded else f" failed after {took_s:.1f} s", last=True)
        job.end(succeeded)
        if succeeded:
            return []
        tail = "\n".join(job.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        return [f"{tail}\n\n{job.title} failed with status {job.status}; the whole output is in {job.log}"]

    def _show(self, job: _Job, news: str, *, last: bool = False) -> None:
        """The job's progress on the line that is open. That of another job goes away for it on a terminal, where lines
        can; elsewhere it is ended."""
        line = f"{job.title} ...{news}"
        if line != self._line:
            if self._out.isatty():
                self.say(f"\r\x1b[K{line}", end="")
            else:
                own = bool(self._line) and line.startswith(self._line)
                self.say(line.removeprefix(self._line) if own else f"\n{line}" if self._line else line, end="")
        self._line = "" if last else line
        if last:
            self.say("")

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
