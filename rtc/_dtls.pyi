"""DTLS-SRTP handshakes (RFC 5764) without I/O: datagrams and time in, datagrams and keys out. OpenSSL underneath."""

from collections.abc import Sequence
from typing import NamedTuple, final

class SrtpKeys(NamedTuple):
    profile: int  # 7 = AEAD_AES_128_GCM, 1 = AES128_CM_HMAC_SHA1_80
    local_key: bytes  # what we send with
    local_salt: bytes
    remote_key: bytes
    remote_salt: bytes

class DtlsError(Exception): ...

@final
class Identity:
    """A certificate and its private key, shared by all associations of a server."""

    def __init__(self, certificate_pem: bytes, private_key_pem: bytes, *, profiles: Sequence[int] = (7, 1)) -> None:
        """``profiles``: SRTP profiles in order of preference. DtlsError when the pair does not fit."""
    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate's DER, 32 bytes."""

@final
class Dtls:
    """One association. ``now`` is in seconds and never goes back.

    The server side needs no HelloVerifyRequest (ICE has verified the path), reassembles fragmented ClientHellos and answers in datagrams of at most ``mtu`` bytes.
    """

    def __init__(self, identity: Identity, *, server: bool, fingerprints: Sequence[tuple[str, bytes]], mtu: int = 1200, initial_timeout: float = 0.2) -> None:
        """``fingerprints``: (hash name as in SDP, digest) pairs; the peer's certificate must match one of a known, strong hash. ``mtu``: 280..4096 bytes. A client starts by `start`."""
    def start(self, now: float) -> None:
        """Client only: send the ClientHello."""
    def receive(self, datagram: bytes, now: float) -> None:
        """Never raises for hostile input: junk is ignored, a failed handshake shows in `state`."""
    def datagrams_to_send(self) -> list[bytes]: ...
    def timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
    def handle_timer(self, now: float) -> None: ...
    @property
    def state(self) -> str:
        """"new", "handshaking", "connected", "failed" or "closed"."""
    @property
    def failure(self) -> str | None: ...
    @property
    def keys(self) -> SrtpKeys | None:
        """Exported once connected and the fingerprint matched; None before."""
    def close(self) -> None:
        """Queue close_notify (see `datagrams_to_send`) and free OpenSSL's state."""
