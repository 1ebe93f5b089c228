"""Opens relay ports (the `Sockets` of turn.plane).

A relayed address is what peers and clients see. Where this machine has it, the socket is bound to it; where it is
translated on the way (a container, a provider's network), the same port of every address of the family is.
"""

import contextlib
import errno
import os
import socket

from turn.stun import Address


class RelaySockets:
    def open(self, address: Address) -> int:
        """The descriptor of a bound, non-blocking UDP socket. OSError when the port is another program's."""
        host, port = address
        family, wildcard = (socket.AF_INET6, "::") if ":" in host else (socket.AF_INET, "0.0.0.0")
        with contextlib.ExitStack() as undo:
            sock = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                sock.bind((wildcard, port))
            undo.pop_all()
        return sock.detach()

    def is_free(self, address: Address) -> bool:
        """Whether no other program has the port now."""
        try:
            self.close(self.open(address))
        except OSError:
            return False
        return True

    def close(self, fd: int) -> None:
        os.close(fd)
