"""The whole product (`python -m server.main`), with rooms of more than the 25 people that the protocol allows."""

import sys

import sfu.room
from benchmarks.node_server import LARGEST_ROOM
from server.main import main

if __name__ == "__main__":
    sfu.room.MAX_PARTICIPANTS = LARGEST_ROOM  # type: ignore[attr-defined]
    sys.exit(main())
