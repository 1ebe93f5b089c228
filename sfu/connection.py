"""The transport of one participant: SDP state over its renegotiations, ICE credentials, and the DTLS handshake until
keys are out.

Sans-IO: DTLS datagrams come from the worker's events and leave by its `send_dtls`. A finished association holds the
last flight (some 4 KiB in all), which is no longer needed once the client has proved by media that it holds the keys;
so it is let go `GRACE_S` later, without a close_notify, which would end the client's transport.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from rtc.ice import Entropy, make_credentials
from rtc.sdp import parse
from rtc.sdp_answer import LocalSide, Negotiated, Policy, negotiate
from sfu.media import WorkerHandle

if TYPE_CHECKING:
    from rtc._dtls import SrtpKeys

GRACE_S = 10.0  # time for the last flight to be repeated, should the client have missed it
SILENT_GRACE_S = 30.0  # for who sends nothing, so that nothing proves the keys
_SSRC_STEP = 0x9E3779B1


class Association(Protocol):
    """The part of `rtc._dtls.Dtls` that is used here."""

    def receive(self, datagram: bytes, now: float) -> None: ...
    def datagrams_to_send(self) -> list[bytes]: ...
    def timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> None: ...
    def close(self) -> None: ...
    @property
    def state(self) -> str: ...
    @property
    def keys(self) -> "SrtpKeys | None": ...


Associate: TypeAlias = Callable[[Sequence[tuple[str, bytes]]], Association]
"""Makes the server side of an association that expects one of these (hash name, digest) fingerprints."""


class Connection:
    """Made with the first offer, closed with the participant."""

    def __init__(self, worker: WorkerHandle, associate: Associate, fingerprint: bytes, entropy: Entropy) -> None:
        """`fingerprint`: SHA-256 of our certificate."""
        self.transport = worker.new_transport()
        self.negotiated: Negotiated | None = None
        self.connected = False
        self._worker = worker
        self._associate = associate
        self._entropy = entropy
        self._ssrc = int.from_bytes(entropy(4), "big")
        self._dtls: Association | None = None
        self._release_at: float | None = None
        self._added = self._closed = False
        # a session id fits 63 bits (RFC 9429 section 5.2.1)
        session_id = int.from_bytes(entropy(8), "big") >> 1
        self._local = LocalSide(session_id, fingerprint, worker.candidates, f"wadud-{session_id:x}")

    def negotiate(
        self, offer_sdp: str, *, publishing: Collection[str], may_subscribe: bool, policy: Policy
    ) -> Negotiated:
        """What the offer leads to; nothing is changed yet. SdpError."""
        return negotiate(
            parse(offer_sdp),
            self._local,
            new_credentials=lambda: make_credentials(self._worker.index, self._entropy),
            new_ssrc=self._new_ssrc,
            publishing=publishing,
            may_subscribe=may_subscribe,
            previous=self.negotiated,
            policy=policy,
        )

    def apply(self, negotiated: Negotiated) -> None:
        """Makes it the state of the transport. Tracks and legs are the participant's business. Behind an error in the
        first one, `close`."""
        if self.negotiated is None:
            self._dtls = self._associate([(item.algorithm, item.digest) for item in negotiated.fingerprints])
            self._worker.plane.add_transport(self.transport, negotiated.local.ufrag, negotiated.local.password)
            self._added = True
        elif negotiated.restarted:
            self._worker.plane.restart_ice(self.transport, negotiated.local.ufrag, negotiated.local.password)
        if self.negotiated is None or negotiated.restarted:
            self._worker.plane.set_remote(self.transport, negotiated.remote.ufrag, negotiated.remote.password)
        # the text is long and has been handed out
        self.negotiated = replace(negotiated, answer="")

    def dtls_received(self, datagram: bytes, now: float) -> bool:
        """A datagram of the handshake. True when it made the transport connected."""
        if self._dtls is None:
            return False
        self._dtls.receive(datagram, now)
        return self._progress(now)

    def timer(self) -> float | None:
        """When `handle_timer` wants to be called; None when never."""
        return self._dtls.timer() if self._dtls is not None else None

    def handle_timer(self, now: float) -> bool:
        """As `dtls_received`."""
        if self._dtls is None:
            return False
        self._dtls.handle_timer(now)
        return self._progress(now)

    def media_heard(self, now: float) -> None:
        """The client's media was authentic, so it has the keys."""
        if self.connected and self._dtls is not None:
            earlier = now + GRACE_S
            self._release_at = earlier if self._release_at is None else min(self._release_at, earlier)

    @property
    def releases_at(self) -> float:
        """From when `release` has something to do; inf for never."""
        return self._release_at if self._dtls is not None and self._release_at is not None else math.inf

    def release(self, now: float) -> bool:
        """Lets the DTLS association go when its grace is over; True when it did."""
        if now < self.releases_at:
            return False
        self._drop()
        return True

    def close(self) -> None:
        """Says goodbye (as far as DTLS is still there) and removes the transport with its tracks and legs;
        idempotent."""
        if self._closed:
            return
        self._closed = True
        dtls = self._dtls
        if dtls is not None:
            self._drop()
            datagrams = dtls.datagrams_to_send()
            if datagrams:
                self._worker.plane.send_dtls(self.transport, datagrams)
        if self._added:
            self._worker.plane.remove_transport(self.transport)

    def _progress(self, now: float) -> bool:
        dtls = self._dtls
        assert dtls is not None
        datagrams = dtls.datagrams_to_send()
        if datagrams:
            self._worker.plane.send_dtls(self.transport, datagrams)
        keys = dtls.keys
        became_connected = not self.connected and dtls.state == "connected" and keys is not None
        if became_connected and keys is not None:
            self.connected = True
            self._release_at = now + SILENT_GRACE_S
            self._worker.plane.set_keys(
                self.transport, keys.profile, keys.local_key, keys.local_salt, keys.remote_key, keys.remote_salt
            )
        if dtls.timer() is None:
            self._worker.handshakes.pop(self.transport, None)
        else:
            self._worker.handshakes[self.transport] = self
        return became_connected

    def _drop(self) -> None:
        if self._dtls is not None:
            self._dtls.close()
            self._dtls = None
        self._worker.handshakes.pop(self.transport, None)

    def _new_ssrc(self) -> int:
        """One that this transport has never had: its cipher must not see an SSRC start twice. Odd steps from a random
        beginning pass 2^32 numbers before one comes again."""
        self._ssrc = (self._ssrc + _SSRC_STEP) & 0xFFFFFFFF
        return self._ssrc or self._new_ssrc()
