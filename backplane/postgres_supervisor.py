"""The process between the server and its own Postgres: it outlives neither.

Started by `backplane.embedded_postgres` as a script of the standard library alone, with one JSON argument. As root it
first becomes another user, because Postgres refuses root; then it makes the cluster if there is none, starts Postgres
and starts it again when it crashes. It says ``ready`` or ``failed: why`` on standard output. Standard input is a pipe
whose other end only the server holds: when that closes, however the server has died, Postgres is shut down. Should this
process itself be killed, the kernel tells Postgres (PR_SET_PDEATHSIG).
"""

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522

SHUTDOWN_S = 10.0
TICK_S = 1.0
READY_POLL_S = 0.02
# This many ends in a row before Postgres was ready: it will not get better by itself.
MAX_FAILURES = 5
MAX_LOG_BYTES = 16 * 1024 * 1024


class Order(TypedDict):
    """The argument."""

    home: str  # holds cluster/, lock, postgres.log; owned by the user below
    sockets: str
    binaries: str
    user: tuple[int, int] | None  # uid and gid to become
    lock_wait_s: float  # for the Postgres of a server that ended a moment ago
    superuser: str
    database: str
    settings: dict[str, str]


class FailedError(Exception):
    """Postgres cannot be started; the text is for the operator."""


def tell(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError:
        return  # the server is gone, which the pipe of standard input tells as well


def become(uid: int, gid: int, reach: list[str]) -> None:
    """Gives up root. Where the new user could not reach a path (a checkout below a closed directory), the right to
    pass directories is kept, for Postgres too."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    pid = os.fork()
    if pid == 0:
        os.setresuid(uid, uid, uid)
        os._exit(0 if all(os.access(path, os.R_OK | os.X_OK) for path in reach) else 1)
    reachable = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    if reachable:
        os.setresuid(uid, uid, uid)
        return
    held = [each for each in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if libc.prctl(PR_CAPBSET_READ, each, 0, 0, 0) == 1]
    if not held:
        raise FailedError(f"the user with id {uid} cannot reach {' or '.join(reach)}. Choose another --data directory.")
    capability = held[0]
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresuid(uid, uid, uid)
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, sets) or libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0):
        raise FailedError(f"the user with id {uid} cannot reach {' or '.join(reach)}. Choose another --data directory.")


def on_disk(directory: Path) -> None:
    """Waits until all that was written to the file system of a directory is there to stay. Raises FailedError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(fd):
            raise FailedError(f"{directory} could not be written: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


class Supervisor:
    """One Postgres, from the first start to the last shutdown."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.home = Path(order["home"])
        self.cluster = self.home / "cluster"
        self.pid_file = self.cluster / "postmaster.pid"
        self.binaries = Path(order["binaries"])
        self.parent = os.getppid()
        self.stopping = False
        self.wake_fd, wake = os.pipe()
        for fd in (self.wake_fd, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        """Returns when the server has gone or SIGTERM came, and Postgres is down. Raises FailedError."""
        with (self.home / "lock").open("a") as lock:
            self._take(lock.fileno())
            self._end_leftover()
            if not self.cluster.exists():
                self._initialise()
            self._check_version()
            failures = 0
            while self._wanted():
                self._end_orphans()
                log = self._log()
                postgres = self._start(log)
                ready = self._watch(postgres)
                if not self._wanted():
                    self._shut_down(postgres)
                    return
                failures = 0 if ready else failures + 1
                if failures >= MAX_FAILURES:
                    raise FailedError(f"Postgres ends at once. The end of {log}:\n{_tail(log)}")
                self._wait(0.1 * 2**failures)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _wanted(self) -> bool:
        return not self.stopping

    def _wait(self, seconds: float) -> bool:
        """Until something happens, at most that long. Whether Postgres is still wanted."""
        readable, _, _ = select.select([0, self.wake_fd], [], [], seconds)
        if self.wake_fd in readable:
            os.read(self.wake_fd, 4096)
        if (0 in readable and not os.read(0, 4096)) or os.getppid() != self.parent:
            self.stopping = True
        return self._wanted()

    def _take(self, fd: int) -> None:
        give_up = time.monotonic() + self.order["lock_wait_s"]
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # usually the Postgres of a server that was killed a moment ago, about to end
                if time.monotonic() > give_up:
                    raise FailedError(
                        f"another server uses {self.home}. Stop it, or choose another --data directory."
                    ) from None
                if not self._wait(0.05):
                    raise SystemExit(0) from None

    def _leftover(self) -> int | None:
        """Pid of a Postgres that runs in this cluster."""
        try:
            pid = int(self.pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return pid if self._is_postgres(pid) else None

    def _is_postgres(self, pid: int) -> bool:
        """Whether a process is one of a Postgres in this cluster."""
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            directory = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            return False
        return name in ("postgres", "postmaster") and directory == self.cluster.resolve()

    def _end_orphans(self) -> None:
        """Whoever outlived a Postgres that was killed: in the middle of a statement it does not notice, and as long as
        it holds the shared memory no other can start. What it was doing is lost already."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_postgres(int(entry.name)):
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _end_leftover(self) -> None:
        """Holding the lock, a Postgres in our cluster has lost its supervisor; a pid file without one is stale."""
        pid = self._leftover()
        if pid is not None:
            os.kill(pid, signal.SIGINT)
        give_up = time.monotonic() + self.order["lock_wait_s"]
        while (pid := self._leftover()) is not None:
            if time.monotonic() > give_up:
                raise FailedError(f"an old Postgres (process {pid}) in {self.home} does not end")
            time.sleep(READY_POLL_S)
        self.pid_file.unlink(missing_ok=True)

    def _initialise(self) -> None:
        fresh = self.home / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        base = [str(self.binaries / "initdb"), "-D", str(fresh), "-U", self.order["superuser"], "-E", "UTF8"]
        base += ["--auth=trust", "--data-checksums", "--no-sync"]  # a thousand files one by one; see below
        status, errors = self._ran([*base, "--locale=C.UTF-8"])
        if status != 0:  # not every libc has that locale
            shutil.rmtree(fresh, ignore_errors=True)
            status, errors = self._ran([*base, "--no-locale"])
        if status != 0:
            raise FailedError(f"initdb failed:\n{errors.strip()}")
        single = [str(self.binaries / "postgres"), "--single", "-D", str(fresh), "-c", "fsync=off", "postgres"]
        sql = f"CREATE DATABASE {self.order['database']}\n"
        status, errors = self._ran(single, sql)
        if status != 0 or "ERROR" in errors:
            raise FailedError(f"the database could not be made:\n{errors.strip()}")
        durable = self.order["settings"].get("fsync") != "off"
        if durable:
            on_disk(fresh)
        fresh.rename(self.cluster)
        if durable:
            on_disk(self.home)

    def _ran(self, command: list[str], text: str = "") -> tuple[int, str]:
        """Exit status and standard error of a command; it ends as soon as Postgres is no longer wanted."""
        with (
            tempfile.TemporaryFile("w+", dir=self.home) as given,
            tempfile.TemporaryFile("w+", dir=self.home) as errors,
        ):
            given.write(text)
            given.seek(0)
            process = subprocess.Popen(
                command, cwd=self.home, stdin=given, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )
            while process.poll() is None:
                if not self._wait(TICK_S):
                    os.killpg(process.pid, signal.SIGKILL)  # with those that it has started
                    process.wait()
                    raise SystemExit(0)
            errors.seek(0)
            return process.returncode, errors.read()

    def _check_version(self) -> None:
        made = (self.cluster / "PG_VERSION").read_text().strip()
        said = subprocess.run([self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
        have = said.stdout.split()[2].partition(".")[0]
        if made != have:
            raise FailedError(
                f"{self.cluster} was made by Postgres {made}, but the server here is Postgres {have}. Install "
                f"Postgres {made} again, or move the data over with pg_dumpall (or pg_upgrade), or move {self.home} "
                "away to begin with an empty database."
            )

    def _log(self) -> Path:
        log = self.home / "postgres.log"
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(self.home / "postgres.log.old")
        return log

    def _start(self, log: Path) -> "subprocess.Popen[bytes]":
        settings = {**self.order["settings"], "unix_socket_directories": self.order["sockets"]}
        argv = [str(self.binaries / "postgres"), "-D", str(self.cluster)]
        argv += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        libc = ctypes.CDLL(None)
        with log.open("ab") as out:
            return subprocess.Popen(
                argv,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0),
            )

    def _watch(self, postgres: "subprocess.Popen[bytes]") -> bool:
        """Until Postgres ends or is no longer wanted. Whether it was ready in between."""
        ready = False
        while postgres.poll() is None and self._wanted():
            if not ready and self._is_ready(postgres.pid):
                ready = True
                tell("ready")
            self._wait(TICK_S if ready else READY_POLL_S)
        return ready

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = self.pid_file.read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _shut_down(self, postgres: "subprocess.Popen[bytes]") -> None:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, none
            postgres.send_signal(number)
            try:
                postgres.wait(SHUTDOWN_S)
            except subprocess.TimeoutExpired:
                continue
            return


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def main() -> NoReturn:
    order: Order = json.loads(sys.argv[1])
    try:
        if order["user"] is not None:
            become(*order["user"], [order["home"], order["sockets"], order["binaries"]])
        os.umask(0o077)
        Supervisor(order).run()
    except (FailedError, OSError) as error:
        tell(f"failed: {json.dumps(str(error))}")
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
