"""How a server process starts, and why it cannot, in words for the operator."""

import asyncio
import errno
import os
import sys
from collections.abc import Coroutine

import uvloop

from backplane import logs
from backplane.listeners import raise_file_limit
from backplane.settings import Settings


class StartError(Exception):
    """The server cannot start. The text says why and what to do."""


def why(error: OSError, what: str, option: str) -> str:
    """``what`` could not be had because of ``error``; ``option`` is what the operator may change."""
    if error.errno == errno.EADDRINUSE:
        return f"{what} is taken by another program. Stop it, or choose another port with {option}."
    if error.errno == errno.EACCES:
        return f"{what} is not allowed for this user. Choose a port above 1023 with {option}."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what}: this machine has no such address. Choose another with --host."
    return f"{what}: {os.strerror(error.errno) if error.errno else error}."


def run(name: str, settings: Settings, serving: Coroutine[object, object, None]) -> int:
    """Have ``serving`` done in this process; the exit status. ``name``: of the program."""
    logs.configure(settings.log_level)
    raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serving)
    except StartError as error:
        print(f"{name} cannot start: {error}", file=sys.stderr)
        return 1
    return 0
