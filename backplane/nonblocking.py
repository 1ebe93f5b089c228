"""Reading of sockets that do not wait."""

import socket


def received(sock: socket.socket, most: int, flags: int = 0) -> bytes | None:
    """What has come, at most so many bytes; None when nothing has yet, b"" when nothing will any more, a broken
    connection included."""
    try:
        return sock.recv(most, flags)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
