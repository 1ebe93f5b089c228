"""Why a server cannot start, in words for the operator."""

import errno
import os


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
