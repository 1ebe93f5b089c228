"""A media node without HTTP: the product's own node, worker thread and event loop, joined over stdin and stdout.

What `benchmarks/forwarding.py` measures. Signalling is left out so that rooms may be larger than the 25 people that the
protocol allows and joins need no rate limits; media, DTLS, rooms, slots and statistics are the product's. One JSON
request per line: {"room", "offer", "tracks"} is answered by {"answer"}; the end of stdin ends the process.
"""

import asyncio
import json
import sys
import time

import uvloop

import sfu.room
from backplane.certificates import self_signed
from rtc._dtls import Identity
from rtc._worker import Worker
from rtc.worker_events import WorkerEvents
from sfu.node import Node
from sfu.pacing import PacedNode
from sfu.protocol import DeclaredTrack, Right, RoomError, Source

LARGEST_ROOM = 1000


async def serve() -> None:
    sfu.room.MAX_PARTICIPANTS = LARGEST_ROOM  # type: ignore[attr-defined]
    worker = Worker(address="127.0.0.1", port=0)
    node = Node(
        workers=[worker], identity=Identity(*self_signed(time.time())), candidates=[[("127.0.0.1", worker.port)]]
    )
    with WorkerEvents([worker], [PacedNode(node)]).running():
        await answer_joins(node, worker)
    print(json.dumps(worker.counters()), flush=True)
    worker.close()


async def answer_joins(node: Node, worker: Worker) -> None:
    """Until stdin ends."""
    requests = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    print(json.dumps({"port": worker.port, "thread": worker.thread_id}), flush=True)
    number = 0
    while line := await requests.readline():
        request = json.loads(line)
        number += 1
        tracks = [DeclaredTrack(t["mid"], Source(t["source"]), False) for t in request["tracks"]]
        try:
            joined = node.room(request["room"]).join(
                f"p{number}", f"p{number}", "guest", list(Right), request["offer"], tracks, time.monotonic()
            )
            print(json.dumps({"answer": joined.answer_sdp}), flush=True)
        except RoomError as error:
            print(json.dumps({"error": f"{error.code}: {error}"}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
