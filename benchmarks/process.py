"""A server under measurement as the kernel sees it: CPU time of all its threads, memory, and what else its core did."""

import atexit
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.native import spin_program

UNBOUNDED = ["--rooms-per-address", "0", "--people-per-address", "0", "--tokens-per-minute", "0", "--room-idle-s", "0"]
"""Options of our server: all of a load comes from few addresses."""
_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024
_PRIORITY = -10
_LEAST_PRIORITY = 19
_CPUIDLE = Path("/sys/devices/system/cpu/cpuidle/current_driver")


def pinned(cpu: int) -> Callable[[], None]:
    """What a child does before it starts: stay on that core, and not outlive a Ctrl-C half-way."""

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    return prepare


def start(
    command: Sequence[str],
    cpu: int,
    log: Path,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    quiet: bool = False,
) -> "subprocess.Popen[bytes]":
    """A process on one core with pipes for stdin and stdout; stderr goes to the file ``log``, and stdout too when it is
    to be ``quiet``. ``environment`` is added to ours."""
    with log.open("wb") as errors:
        return subprocess.Popen(
            list(command),
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=errors if quiet else subprocess.PIPE,
            stderr=errors,
            preexec_fn=pinned(cpu),
        )


def end_as_by_ctrl_c() -> None:
    """SIGTERM, too, leaves nothing running that we have started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def stop(process: "subprocess.Popen[bytes]", timeout_s: float = 10) -> None:
    """SIGTERM, then SIGKILL; idempotent."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
    if process.poll() is None:
        process.kill()
        process.wait()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Waits until no other benchmark runs on this machine: two on the same cores would measure each other."""
    with (Path(tempfile.gettempdir()) / "wadud-benchmark.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another benchmark is running; waiting for its end ...", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def awake(cpu: int) -> Iterator[int | None]:
    """Keeps the core from sleeping while it is idle; the process that spins on it, if one must.

    On a virtual machine a core that sleeps is lent to strangers and comes back late and with empty caches, so that a
    light load would measure them. The kernel's PM QoS interface does it where that is allowed (root) and known (a
    driver of cpuidle): the request holds while the file is open. Elsewhere a process spins that gives way to any other.
    """
    with contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(Path("/dev/cpu_dma_latency").open("wb", buffering=0))
            device.write(struct.pack("=i", 0))  # microseconds that waking up may take
            obeyed = _CPUIDLE.read_text().strip() != "none"
        except OSError:
            obeyed = False
        spinner = None
        if not obeyed:
            spinner = subprocess.Popen([spin_program()], preexec_fn=_giving_way(cpu))
            stack.callback(stop, spinner)
        yield spinner.pid if spinner else None


def _giving_way(cpu: int) -> Callable[[], None]:
    pin = pinned(cpu)

    def prepare() -> None:
        pin()
        os.nice(_LEAST_PRIORITY - os.nice(0))
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    return prepare


def go_first() -> None:
    """This process and those that it starts get their core before others, where that is allowed: less noise.

    Between sessions it is the priority of the session that counts, where the kernel groups by session (sched(7), the
    autogroup feature). It goes back when this process ends.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    session = Path("/proc/self/autogroup")
    with contextlib.suppress(OSError, IndexError):
        before = session.read_text().split()[-1]
        session.write_text(str(_PRIORITY))
        atexit.register(_write_if_allowed, session, before)


def _write_if_allowed(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(text)


def cpu_s(pid: int) -> float:
    """User and system time of the process, all threads that live.

    The same time as utime and stime in /proc/PID/stat, from the scheduler's clock: those count in steps of 10 ms, which
    is a good part of what a server at 1 % load needs in a round.
    """
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(word) for word in task.read_text().split()]
    return found


def proportional_kib(pid: int) -> float:
    """Memory of the process where what it shares with others counts in parts (proc(5), smaps_rollup, Pss)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))


def resident_kib(pid: int) -> float:
    """Resident memory of the process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _KIB


def forget_peak(pid: int) -> None:
    """Lets `peak_kib` begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_kib(pid: int) -> float:
    """The most resident memory that the process has had since it began, or since `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Seconds since boot that a core spent; ``stolen``: wanted, but not given by the hypervisor."""

    busy: float
    stolen: float
    soft_interrupts: float
    """Work of the network stack that the kernel's own thread took over, charged to no process."""


def core_times(cpu: int) -> CoreTimes:
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{cpu} "))
    user, nice, system, _idle, _wait, interrupt, soft, stolen = (int(word) / _TICKS for word in line.split()[1:9])
    thread = _soft_interrupt_thread(cpu)
    return CoreTimes(user + nice + system + interrupt + soft, stolen, cpu_s(thread) if thread else 0.0)


def _soft_interrupt_thread(cpu: int) -> int | None:
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == f"ksoftirqd/{cpu}":
                return int(path.parent.name)
    return None
