"""The servers under measurement, each started as a process of its own on one core and filled with connected participants."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from backplane.certificates import self_signed
from benchmarks.build import ROOT
from benchmarks.load import Participant
from rtc._dtls import Identity
from rtc.peer import AUDIO_LEVEL, MID, TRANSPORT_CC, Peer, PeerOptions

TICKS = os.sysconf("SC_CLK_TCK")
CONSENT_S = 5.0
PUBLISHER = PeerOptions(audio_slots=0, video_slots=0)
SUBSCRIBER = PeerOptions(audio=False, video=False, audio_slots=1, video_slots=1)
TALKER = PeerOptions(audio_slots=1, video_slots=1)


def connect(peer: Peer, seconds: float = 10) -> socket.socket:
    """Drive the peer on a socket of its own until it has keys; the socket, connected to the server."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert peer.remote is not None
    udp.connect(peer.remote)
    deadline = time.monotonic() + seconds
    while not peer.connected:
        now = time.monotonic()
        if now > deadline or peer.failure:
            raise ConnectionError(peer.failure or "no connection")
        peer.handle_timer(now)
        for data, _ in peer.datagrams_to_send(now):
            udp.send(data)
        due = peer.timer()
        udp.settimeout(max(0.001, min(0.5, (due or now + 0.5) - now)))
        try:
            peer.receive(udp.recv(4096), peer.remote, time.monotonic())
        except TimeoutError:
            continue
    for data, _ in peer.datagrams_to_send(time.monotonic()):
        udp.send(data)
    udp.settimeout(None)
    return udp


def participant(peer: Peer, udp: socket.socket) -> Participant:
    """What the load generator needs to go on in the peer's place."""
    keys = peer.srtp_keys
    assert keys is not None
    senders = peer.senders
    agreed = set().union(*(sender.extensions for sender in senders.values())) if senders else set()
    return Participant(
        socket=udp,
        profile=keys.profile,
        send_key=keys.local_key,
        send_salt=keys.local_salt,
        receive_key=keys.remote_key,
        receive_salt=keys.remote_salt,
        publishes=bool(senders),
        video_ssrc=senders["video"].ssrc if senders else 0,
        audio_ssrc=senders["audio"].ssrc if senders else 0,
        level_id=AUDIO_LEVEL if AUDIO_LEVEL in agreed else 0,
        cc_id=TRANSPORT_CC if TRANSPORT_CC in agreed else 0,
        mid_id=MID if MID in agreed else 0,
        audio_mid=peer.mids.get("audio", ""),
        video_mid=peer.mids.get("video", ""),
    )


class Server(ABC):
    """A process on core `cpu` from `with` to its end."""

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.identity = Identity(*self_signed(time.time()))
        self.random = random.Random(1)
        self.peers: list[tuple[Peer, socket.socket]] = []
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def fill(self, rooms: int, subscribers: int) -> list[Participant]:
        """Connect everybody; 0 subscribers = two people per room who both publish."""

    def cpu_seconds(self) -> float:
        """User and system time of the process, all threads."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @contextmanager
    def consent_kept(self) -> Iterator[None]:
        """Keeps sending checks for everybody in a thread (RFC 7675), while the generator carries the media."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(CONSENT_S):
                for peer, udp in self.peers:
                    udp.send(peer.consent_check())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def popen(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["taskset", "-c", str(self.cpu), *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class WadudServer(Server):
    """Our media node (benchmarks/node_server.py)."""

    def start(self) -> None:
        self.process = self.popen(sys.executable, "-m", "benchmarks.node_server")
        self._read()

    def _read(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the server has ended")
        answer: dict[str, str] = json.loads(line)
        return answer

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)

    def join(self, room: str, options: PeerOptions) -> Participant:
        assert self.process.stdin is not None
        peer = Peer(self.identity, self.random, options)
        sources = {"audio": "microphone", "video": "camera"}
        tracks = [{"mid": mid, "source": sources[kind]} for kind, mid in peer.mids.items()]
        print(json.dumps({"room": room, "offer": peer.offer(), "tracks": tracks}), file=self.process.stdin, flush=True)
        answer = self._read()
        if "answer" not in answer:
            raise SystemExit(f"the server refused: {answer}")
        peer.accept(answer["answer"], time.monotonic())
        udp = connect(peer)
        self.peers.append((peer, udp))
        return participant(peer, udp)

    def fill(self, rooms: int, subscribers: int) -> list[Participant]:
        everybody = []
        for number in range(rooms):
            people = [TALKER, TALKER] if not subscribers else [PUBLISHER, *[SUBSCRIBER] * subscribers]
            everybody += [self.join(f"room-{number}", options) for options in people]
        return everybody


class JanusServer(Server):
    """Debian's Janus with the VideoRoom plug-in; see benchmarks/janus.py."""

    def start(self) -> None:
        from benchmarks.janus import Janus

        self._loop = asyncio.new_event_loop()
        self._janus = Janus(self.cpu)
        self._loop.run_until_complete(self._janus.start())
        self.process = self._janus.process

    def stop(self) -> None:
        self._loop.run_until_complete(self._janus.stop())
        self._loop.close()

    def fill(self, rooms: int, subscribers: int) -> list[Participant]:
        return self._loop.run_until_complete(self._janus.fill(self, rooms, subscribers))
