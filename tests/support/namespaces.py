"""Networks of one's own: Linux network namespaces joined by veth pairs, for tests that need a real path to fail.

A `Namespace` is a machine with nothing but a network: programs run in it by ``argv``, and this process opens sockets in
it by ``socket``. Links are made inside the namespaces, so the machine's own network is never touched. Names hold the
id and the start time of the process that made them: what a killed run has left behind is told from what a living one
uses, and is removed by the next run, with the programs still in it.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support import clock

PREFIX = "wadud"
NAMES = Path("/run/netns")
FILES = Path("/etc/netns")  # what ip(8) lays over /etc for programs in a namespace
_CLONE_NEWNET = 0x40000000  # setns(2)
_END_S = 5.0
_numbers = itertools.count(1)
_IP = shutil.which("ip") or "ip"  # programs may be started with another path
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """A command that builds a network failed; the text holds its words."""


def unavailable() -> str | None:
    """Why namespaces cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    try:
        with namespaces("probe") as (probe,):
            probe.nft("add table ip probe\nadd chain ip probe out { type nat hook postrouting priority srcnat; }")
    except NamespaceError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class Namespace:
    """One machine's network stack."""

    name: str

    def argv(self, *command: str) -> list[str]:
        """The command line that runs ``command`` in here; the process id is the command's own."""
        return [_IP, "netns", "exec", self.name, *command]

    def ip(self, *lines: str) -> None:
        """Run lines of ip(8)."""
        _run(["ip", "-n", self.name, "-batch", "-"], "\n".join(lines))

    def nft(self, rules: str) -> None:
        """Add rules in the language of nft(8)."""
        _run(self.argv("nft", "-f", "-"), rules)

    def set(self, **values: int) -> None:
        """Settings of the kernel below ``net/``; ``__`` stands for a slash: ``set(ipv4__ip_forward=1)``."""
        with self.entered():
            for name, value in values.items():
                (Path("/proc/sys/net") / name.replace("__", "/")).write_text(str(value))

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> socket.socket:
        """A socket of this network, in our process; it stays in this network."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in here; whoever enters must not await before leaving."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(NAMES / self.name, os.O_RDONLY)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def knows(self, names: Mapping[str, Sequence[str]]) -> None:
        """Programs that start in here from now on find addresses by these host names, and by no others."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, all_of in names.items() for address in all_of)]
        directory = FILES / self.name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts").write_text("\n".join(lines) + "\n")
        (directory / "resolv.conf").write_text("")
        (directory / "nsswitch.conf").write_text("hosts: files\n")

    def programs(self) -> list[int]:
        """Ids of the processes in here."""
        return [int(pid) for pid in _run(["ip", "netns", "pids", self.name]).split()]


@contextmanager
def namespaces(*kinds: str) -> Iterator[tuple[Namespace, ...]]:
    """One namespace per kind, with loopback up; removed at the end with whatever still runs in them."""
    remove_leftovers()
    number = next(_numbers)
    made: list[Namespace] = []
    try:
        for kind in kinds:
            namespace = Namespace(f"{PREFIX}-{os.getpid()}-{_started(os.getpid())}-{number}-{kind}")
            _run(["ip", "netns", "add", namespace.name])
            made.append(namespace)
            namespace.set(ipv6__conf__default__accept_dad=0)  # addresses serve at once
            namespace.ip("link set lo up")
        yield tuple(made)
    finally:
        for namespace in made:
            _remove(namespace)


def join(a: Namespace, a_link: str, b: Namespace, b_link: str, mtu: int = 1500) -> None:
    """A cable between two namespaces."""
    _run(["ip", "link", "add", a_link, "netns", a.name, "type", "veth", "peer", "name", b_link, "netns", b.name])
    for namespace, link in ((a, a_link), (b, b_link)):
        namespace.ip(f"link set {link} mtu {mtu} up")


def existing() -> list[str]:
    """Names of all namespaces that tests of ours have made, in whichever run."""
    return sorted(path.name for path in NAMES.glob(f"{PREFIX}-*")) if NAMES.is_dir() else []


def remove_leftovers() -> None:
    """Remove the namespaces of runs that have ended without doing so."""
    for name in existing():
        _, pid, started, *_ = [*name.split("-"), "", ""]
        if pid.isdigit() and started.isdigit() and _started(int(pid)) != int(started):
            with suppress(NamespaceError):  # another run may be at it
                _remove(Namespace(name))


def _remove(namespace: Namespace) -> None:
    deadline = clock.now() + _END_S
    while programs := namespace.programs():
        for pid in programs:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if clock.now() > deadline:
            break  # who cannot die keeps the network, but nobody finds it by this name again
        time.sleep(0.01)
    shutil.rmtree(FILES / namespace.name, ignore_errors=True)
    _run(["ip", "netns", "del", namespace.name])


def _started(pid: int) -> int | None:
    """Start of a process in clock ticks since boot (proc_pid_stat(5), field 22); None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[19])


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(argv: list[str], text: str | None = None) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NamespaceError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
