"""From a browser's offer to our answer, and to what the media worker must know (RFC 9429 section 5.3, RFC 9143, RFC
3264).

Assumptions: the client always offers; one BUNDLE group is one transport; we are ICE-lite and DTLS server. A sending
m-line is answered recvonly ("publishing"), a receiving one sendonly with SSRCs of ours (a "slot", which the room feeds
with one track after the other), anything that we cannot carry with port 0. The offer's payload numbers and extension
ids win. Order and identity of m-lines are kept from one negotiation to the next: a rejected line may come back under a
new mid (recycled), a live one may not.

Nothing here has a side effect: an offer that raises leaves the former negotiation as it was.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rtc.ice import IceCredentials, is_restart, of_generation
from rtc.sdp_codecs import DEFAULT_PREFERENCE, share, usable, with_fallbacks, worker_codecs
from rtc.sdp_lines import AnsweredMedia, Line, LineRole, LocalSide
from rtc.sdp_types import Extmap, Fingerprint, Media, NoCodecError, SdpError, SessionDescription
from rtc.sdp_write import write_answer

if TYPE_CHECKING:
    from rtc._worker import Codec, Extensions

__all__ = ["Line", "LineRole", "LocalSide", "Negotiated", "Policy", "negotiate"]

STRONG_HASHES: Final = frozenset({"sha-256", "sha-384", "sha-512"})
MAX_EXTENSION_ID: Final = 14  # of one-byte header extensions (RFC 8285 section 4.2)

URI_MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
URI_AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
URI_TRANSPORT_CC: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
URI_ABS_SEND_TIME: Final = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
URI_ORIENTATION: Final = "urn:3gpp:video-orientation"
URI_PLAYOUT_DELAY: Final = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"


_ACCEPTED_EXTENSIONS: Final = {
    ("audio", LineRole.PUBLISHING): (URI_MID, URI_AUDIO_LEVEL, URI_TRANSPORT_CC, URI_ABS_SEND_TIME),
    ("audio", LineRole.SLOT): (URI_MID, URI_ABS_SEND_TIME),
    ("video", LineRole.PUBLISHING): (
        URI_MID,
        URI_TRANSPORT_CC,
        URI_ABS_SEND_TIME,
        URI_ORIENTATION,
        URI_PLAYOUT_DELAY,
    ),
    ("video", LineRole.SLOT): (URI_MID, URI_ABS_SEND_TIME, URI_ORIENTATION, URI_PLAYOUT_DELAY),
}

# Chromium offers again only what the last answer took. So a line that rests takes all that it may need when it goes on.
for _kind in ("audio", "video"):
    _ACCEPTED_EXTENSIONS[_kind, LineRole.INACTIVE] = tuple(
        dict.fromkeys(_ACCEPTED_EXTENSIONS[_kind, LineRole.PUBLISHING] + _ACCEPTED_EXTENSIONS[_kind, LineRole.SLOT])
    )

_ACCEPTED_FEEDBACK: Final = {
    ("audio", LineRole.PUBLISHING): ("transport-cc",),
    ("video", LineRole.PUBLISHING): ("transport-cc", "ccm fir", "nack", "nack pli"),
    ("video", LineRole.SLOT): ("goog-remb", "ccm fir", "nack", "nack pli"),
    ("audio", LineRole.INACTIVE): ("transport-cc",),
    ("video", LineRole.INACTIVE): ("transport-cc", "goog-remb", "ccm fir", "nack", "nack pli"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What the server wants of a room's negotiations."""

    codec_preference: tuple[str, ...] = DEFAULT_PREFERENCE
    """Browsers send the first codec of the answer that they have."""
    orientation: bool = False
    """Take the video-orientation extension. Off: a phone then turns its picture before encoding, right for everybody.
    On saves it that work, but Firefox, which does not know the extension, shows the picture lying on its side."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The state after an offer and its answer; the next offer is judged against it."""

    answer: str
    lines: tuple[Line, ...]
    version: int
    local: IceCredentials
    remote: IceCredentials
    fingerprints: tuple[Fingerprint, ...]
    restarted: bool  # by an ICE restart in this offer; `local` is new then
    restarts: int  # so far


def negotiate(
    offer: SessionDescription,
    local: LocalSide,
    *,
    new_credentials: Callable[[], IceCredentials],
    new_ssrc: Callable[[], int],
    publishing: Collection[str] = (),
    may_subscribe: bool = True,
    previous: Negotiated | None = None,
    policy: Policy | None = None,
) -> Negotiated:
    """Answers `offer`.

    `publishing`: mids that the client says it publishes on. It decides what a sendrecv line is (published on, else a
    slot), and a line in it without a codec of ours is an error, not a rejection. Slots are answered inactive without
    `may_subscribe`. `new_ssrc` gives any 32-bit number. SdpError, NoCodecError: the offer cannot be answered.
    """
    policy = policy or Policy()
    if not offer.bundle:
        raise SdpError("the offer has no BUNDLE group; all m-lines must share one transport")
    lines = previous.lines if previous else ()
    _check_order(offer, lines)
    roles = [_role(media, offer, publishing, may_subscribe) for media in offer.media]
    answered: list[AnsweredMedia] = []
    ssrcs = _Ssrcs(new_ssrc, [line for line in lines if line.role is LineRole.SLOT])
    for index, (media, role) in enumerate(zip(offer.media, roles)):
        before = lines[index] if index < len(lines) else None
        answered.append(_answer_media(media, role, before, media.mid in publishing, ssrcs, policy))
    carried = {item.line.mid: item.offered for item in answered if item.line.role is not LineRole.REJECTED}
    tagged = next((carried[mid] for mid in offer.bundle if mid in carried), None)
    if tagged is None:
        if any(media.kind in ("audio", "video") and not media.rejected for media in offer.media):
            raise NoCodecError("the offer has no audio or video line with a codec that is forwarded here")
        raise SdpError("the offer has no audio or video line")
    _check_unique_ssrcs(answered)
    remote = _remote_credentials(tagged)
    fingerprints = _remote_fingerprints(tagged)
    restarted = False
    if previous is not None:
        try:
            restarted = is_restart(previous.remote, remote)
        except ValueError as error:
            raise SdpError(str(error)) from error
        if set(fingerprints) != set(previous.fingerprints):
            raise SdpError("the offer has another certificate fingerprint; a new connection must join anew")
    credentials = new_credentials() if previous is None or restarted else previous.local
    version = previous.version + 1 if previous else 1
    restarts = previous.restarts + restarted if previous else 0
    local = replace(local, candidates=of_generation(local.candidates, restarts))
    bundle = tuple(mid for mid in offer.bundle if mid in carried)
    return Negotiated(
        answer=write_answer(answered, bundle, local, credentials, version, offer.extmap_allow_mixed),
        lines=tuple(item.line for item in answered),
        version=version,
        local=credentials,
        remote=remote,
        fingerprints=fingerprints,
        restarted=restarted,
        restarts=restarts,
    )


def _check_order(offer: SessionDescription, lines: tuple[Line, ...]) -> None:
    if len(offer.media) < len(lines):
        raise SdpError(f"the offer has {len(offer.media)} m-lines, fewer than the {len(lines)} of before")
    for index, (media, line) in enumerate(zip(offer.media, lines)):
        if line.role is LineRole.REJECTED or (media.rejected and not media.mid):
            continue
        if media.mid != line.mid or media.kind != line.kind:
            raise SdpError(f"m-line {index} was {line.kind} {line.mid!r} and may not become {media.kind} {media.mid!r}")


def _role(media: Media, offer: SessionDescription, publishing: Collection[str], may_subscribe: bool) -> LineRole:
    if media.rejected or media.kind not in ("audio", "video") or not media.payload_types:
        return LineRole.REJECTED
    if media.mid not in offer.bundle:
        return LineRole.REJECTED
    if not media.rtcp_mux:
        raise SdpError(f"m-line {media.mid!r} does not offer rtcp-mux")
    if media.setup not in ("actpass", "active"):
        raise SdpError(f"m-line {media.mid!r} must offer setup actpass or active, as the server is passive")
    if media.direction.sends and (not media.direction.receives or media.mid in publishing):
        return LineRole.PUBLISHING
    if media.direction.receives and may_subscribe:
        return LineRole.SLOT
    return LineRole.INACTIVE


class _Ssrcs:
    """Hands out SSRCs of slots, each once; a slot that lives on keeps its own."""

    def __init__(self, draw: Callable[[], int], before: list[Line]) -> None:
        self._draw = draw
        self._taken = {ssrc for line in before for ssrc in (line.ssrc, line.rtx_ssrc)}

    def new(self) -> int:
        for _ in range(64):
            ssrc = self._draw() & 0xFFFFFFFF
            if ssrc and ssrc not in self._taken:
                self._taken.add(ssrc)
                return ssrc
        raise RuntimeError("the source of SSRCs repeats itself")


def _answer_media(
    media: Media, role: LineRole, before: Line | None, declared: bool, ssrcs: _Ssrcs, policy: Policy
) -> AnsweredMedia:
    payloads = (
        tuple(usable(media.kind, media.payload_types, policy.codec_preference)) if role is not LineRole.REJECTED else ()
    )
    if not payloads:
        if declared and role is LineRole.PUBLISHING:
            raise NoCodecError(f"m-line {media.mid!r} offers no {media.kind} codec that is forwarded here")
        return AnsweredMedia(media, Line(media.mid, media.kind, LineRole.REJECTED))
    extmaps, extensions = _extensions(media, role, policy)
    feedback = _ACCEPTED_FEEDBACK.get((media.kind, role), ())
    if "transport_cc" not in extensions:
        feedback = tuple(kind for kind in feedback if kind != "transport-cc")
    codecs = worker_codecs(payloads, nack="nack" in feedback, pli="nack pli" in feedback)
    ssrc = rtx_ssrc = 0
    if role is LineRole.PUBLISHING:
        ssrc, rtx_ssrc = _publisher_ssrcs(media)
    elif role is LineRole.SLOT:
        codecs = with_fallbacks(codecs)
        # The worker numbers a new leg's packets anew, so only a leg that stays as it is may keep its SSRC: the same
        # SSRC and sequence number with other content would break the cipher (RFC 7714 section 8.1).
        kept = before if before is not None and _same_leg(before, media, codecs, extensions) else None
        ssrc = kept.ssrc if kept else ssrcs.new()
        if any(codec["rtx_payload_type"] for codec in codecs):
            rtx_ssrc = kept.rtx_ssrc if kept else ssrcs.new()
    line = Line(media.mid, media.kind, role, share(codecs), extensions, ssrc, rtx_ssrc)
    return AnsweredMedia(media, line, payloads, feedback, extmaps)


def _same_leg(before: Line, media: Media, codecs: "list[Codec]", extensions: "Extensions") -> bool:
    return (
        before.role is LineRole.SLOT
        and before.mid == media.mid
        and before.codecs == tuple(codecs)
        and before.extensions == extensions
    )


def _extensions(media: Media, role: LineRole, policy: Policy) -> "tuple[tuple[Extmap, ...], Extensions]":
    accepted = _ACCEPTED_EXTENSIONS[media.kind, role]
    taken: dict[str, Extmap] = {}
    for extmap in media.extensions:
        if extmap.uri not in accepted or extmap.uri in taken or not 1 <= extmap.id <= MAX_EXTENSION_ID:
            continue
        if extmap.uri == URI_ORIENTATION and not policy.orientation:
            continue
        if role is LineRole.PUBLISHING and not extmap.direction.sends:
            continue
        if role is LineRole.SLOT and not extmap.direction.receives:
            continue
        taken[extmap.uri] = extmap
    ids = {uri: extmap.id for uri, extmap in taken.items()}
    extensions: Extensions = {}
    if URI_MID in ids:
        extensions["mid"] = ids[URI_MID]
    if URI_AUDIO_LEVEL in ids:
        extensions["audio_level"] = ids[URI_AUDIO_LEVEL]
    if URI_TRANSPORT_CC in ids:
        extensions["transport_cc"] = ids[URI_TRANSPORT_CC]
    if URI_ABS_SEND_TIME in ids:
        extensions["abs_send_time"] = ids[URI_ABS_SEND_TIME]
    if URI_ORIENTATION in ids:
        extensions["orientation"] = ids[URI_ORIENTATION]
    if URI_PLAYOUT_DELAY in ids:
        extensions["playout_delay"] = ids[URI_PLAYOUT_DELAY]
    return tuple(taken.values()), extensions


def _publisher_ssrcs(media: Media) -> tuple[int, int]:
    """(media, rtx) of the first encoding; 0 where not signalled. Simulcast is not taken up, so the first is the only
    one."""
    groups = media.ssrc_groups
    simulcast = next((members for semantics, members in groups if semantics == "SIM" and members), None)
    pairs = [members for semantics, members in groups if semantics == "FID" and len(members) == 2]
    if simulcast is None and not media.ssrcs and not pairs:
        return 0, 0
    if simulcast is not None:
        ssrc = simulcast[0]
    else:
        ssrc = pairs[0][0] if pairs else media.ssrcs[0]
    return ssrc, next((rtx for primary, rtx in pairs if primary == ssrc), 0)


def _check_unique_ssrcs(answered: list[AnsweredMedia]) -> None:
    seen: set[int] = set()
    for item in answered:
        if item.line.role is LineRole.PUBLISHING:
            for ssrc in (item.line.ssrc, item.line.rtx_ssrc):
                if ssrc and ssrc in seen:
                    raise SdpError(f"SSRC {ssrc} stands for two streams")
                seen.add(ssrc)


def _remote_credentials(media: Media) -> IceCredentials:
    if not media.ufrag or not media.password:
        raise SdpError(f"m-line {media.mid!r} has no ice-ufrag and ice-pwd")
    return IceCredentials(media.ufrag, media.password)


def _remote_fingerprints(media: Media) -> tuple[Fingerprint, ...]:
    strong = tuple(item for item in media.fingerprints if item.algorithm in STRONG_HASHES)
    if not strong:
        raise SdpError(f"m-line {media.mid!r} has no fingerprint of {', '.join(sorted(STRONG_HASHES))}")
    return strong
