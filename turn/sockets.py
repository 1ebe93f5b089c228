"""Opens relay ports (the `Sockets` of turn.plane).

A relayed address is what peers and clients see. Where this machine has it, the socket is bound to it; where it is
translated on the way (a container, a provider's network), the same port of every address of the family is.
"""

import errno
import os
import socket

from turn.stun import Address


class RelaySockets:
    def open(self, address: Address) -> int:
        """The descriptor of a bound, non-blocking UDP socket. OSError when the port is another program's."""
        return _bound(address).detach()

    def is_free(self, address: Address) -> bool:
        """Whether no other program has the port now."""
        try:
            _bound(address).close()
        except OSError:
            return False
        return True

    def close(self, fd: int) -> None:
        os.close(fd)


def _bound(address: Address) -> socket.socket:
    host, port = address
    six = ":" in host
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            sock.bind(("::" if six else "0.0.0.0", port))
    except OSError:
        sock.close()
        raise
    return sock
