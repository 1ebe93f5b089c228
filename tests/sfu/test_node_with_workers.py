"""The real parts together: node, worker thread, OpenSSL, event loop, and two aiortc clients in a call."""

import asyncio
import collections
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

from backplane.certificates import self_signed
from rtc import _worker
from rtc._dtls import Dtls, Identity
from rtc._worker import Worker
from rtc.sdp_codecs import CODEC_NUMBERS, MAX_WORKER_CODECS
from rtc.worker_events import EventKind, WorkerEvents
from sfu.connection import Association
from sfu.events import QualityReport, RoomEvent, SlotsChanged
from sfu.media import Kind, MediaWorker
from sfu.node import Node
from sfu.pacing import PacedNode
from sfu.protocol import DeclaredTrack, Right, Source
from tests.rtc.by_hand import VP8
from tests.sfu.fakes import FakeWorker

WAIT_S = 15.0


def test_numbers_are_those_of_the_worker() -> None:
    assert {event.name: event.value for event in EventKind} == {
        name.removeprefix("EVENT_"): value for name, value in vars(_worker).items() if name.startswith("EVENT_")
    }
    assert (Kind.AUDIO, Kind.VIDEO) == (_worker.AUDIO, _worker.VIDEO)
    assert dict(CODEC_NUMBERS) == dict(_worker.CODECS)


def test_real_and_fake_parts_have_the_same_shape() -> None:
    worker: MediaWorker = Worker(threaded=False)
    fake: MediaWorker = FakeWorker()
    names = [name for name in dir(MediaWorker) if not name.startswith("_")]
    assert all(callable(getattr(worker, name)) and callable(getattr(fake, name)) for name in names)
    association: Association = Dtls(
        Identity(*self_signed(time.time())), server=True, fingerprints=[("sha-256", bytes(32))]
    )
    assert association.state == "new"


def test_worker_takes_as_many_codecs_as_answers_list() -> None:
    worker = Worker(threaded=False)
    worker.add_transport(1, "abcdefgh", "p" * 24)
    codecs = [VP8.copy() for _ in range(MAX_WORKER_CODECS)]
    worker.add_leg(1, 1, kind=2, mid="0", codecs=codecs, extensions={}, ssrc=7)
    with pytest.raises((ValueError, OverflowError)):
        worker.add_leg(2, 1, kind=2, mid="1", codecs=[*codecs, VP8], extensions={}, ssrc=8)


def own_address() -> str:
    """An address of this machine that aiortc, which leaves out loopback, can reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("no network interface besides loopback")
        return str(probe.getsockname()[0])


class Client:
    """One aiortc peer in a room, counting decoded frames."""

    def __init__(self) -> None:
        # aiortc's default policy ties video slots to a transport that the answer has bundled away
        self.peer = RTCPeerConnection(RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.frames: collections.Counter[str] = collections.Counter()
        self.id = ""
        self._tasks: list[asyncio.Task[None]] = []
        self.peer.on("track", lambda track: self._tasks.append(asyncio.create_task(self._count(track))))

    async def _count(self, track: Any) -> None:
        while True:
            try:
                await track.recv()
            except MediaStreamError:
                return
            self.frames[track.kind] += 1

    async def join(self, node: Node, name: str) -> None:
        self.peer.addTransceiver(AudioStreamTrack(), direction="sendonly")
        self.peer.addTransceiver(VideoStreamTrack(), direction="sendonly")
        for kind in ("audio", "audio", "video", "video"):
            self.peer.addTransceiver(kind, direction="recvonly")
        await self.peer.setLocalDescription(await self.peer.createOffer())
        tracks = [DeclaredTrack("0", Source.MICROPHONE), DeclaredTrack("1", Source.CAMERA)]
        sdp = self.peer.localDescription.sdp
        joined = node.room("room").join(name, name, "guest", frozenset(Right), sdp, tracks, time.monotonic())
        self.id = joined.participant_id
        await self.peer.setRemoteDescription(RTCSessionDescription(joined.answer_sdp, "answer"))

    async def close(self) -> None:
        await self.peer.close()
        await asyncio.gather(*self._tasks)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - frames come from a foreign library's thread
            await asyncio.sleep(0.02)


class Heard:
    """What a node tells."""

    def __init__(self) -> None:
        self.mail: dict[str, list[RoomEvent]] = collections.defaultdict(list)
        self.stages: collections.Counter[str] = collections.Counter()

    def notify(self, receivers: Sequence[str], event: RoomEvent) -> None:
        for id in receivers:
            self.mail[id].append(event)

    def observe_stage(self, stage: str, seconds: float) -> None:
        self.stages[stage] += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def node(heard: Heard) -> AsyncIterator[Node]:
    address = own_address()
    worker = Worker(address=address)
    node = Node(
        workers=[worker],
        identity=Identity(*self_signed(time.time())),
        candidates=[[(address, worker.port)]],
        notify=heard.notify,
        observe_stage=heard.observe_stage,
    )
    with WorkerEvents([worker], [PacedNode(node)]).running():
        yield node
        node.close("draining", time.monotonic())
    worker.close()


async def test_two_aiortc_clients_see_and_hear_each_other(node: Node, heard: Heard) -> None:
    ann, bob = Client(), Client()
    try:
        await ann.join(node, "ann")
        await bob.join(node, "bob")
        await until(lambda: all(c.frames["audio"] > 20 and c.frames["video"] > 10 for c in (ann, bob)))
        await until(lambda: all(heard.stages[stage] == 2 for stage in ("ice", "dtls", "first_in", "first_out")))
        await until(lambda: any(isinstance(event, QualityReport) for event in heard.mail[ann.id]))
        node.room("room").leave(bob.id, "left", time.monotonic())
        await until(lambda: bob.peer.connectionState in ("closed", "failed"))
    finally:
        await ann.close()
        await bob.close()
    assert isinstance(heard.mail[ann.id][-1], SlotsChanged | QualityReport)
