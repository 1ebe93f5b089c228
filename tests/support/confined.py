"""Functions that a confined process runs in tests; each takes what it is given as bytes."""

import os
import time
from pathlib import Path


def backwards(given: bytes) -> bytes:
    return given[::-1]


def for_ever(_: bytes) -> bytes:
    while True:
        pass


def asleep(_: bytes) -> bytes:
    time.sleep(600)
    return b""


def all_memory(_: bytes) -> bytes:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def much(given: bytes) -> bytes:
    return b"x" * int(given)


def stumble(given: bytes) -> bytes:
    raise ValueError(given.decode())


def crash(_: bytes) -> bytes:
    os.abort()


def inheritance(_: bytes) -> bytes:
    """The environment's names, and what the open descriptors lead to."""
    opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.exists()]
    return "\n".join([*os.environ, *opened]).encode()


def write(given: bytes) -> bytes:
    """Tries to leave a file behind."""
    Path(given.decode()).write_bytes(b"x" * 1_000_000)
    return b"written"
