"""The text of an answer (RFC 8866 grammar, attribute order as browsers write it)."""

from collections.abc import Iterator, Sequence

from rtc.ice import IceCredentials
from rtc.sdp_lines import AnsweredMedia, LineRole, LocalSide
from rtc.sdp_types import Direction, PayloadType

_DIRECTIONS = {
    LineRole.PUBLISHING: Direction.RECVONLY,
    LineRole.SLOT: Direction.SENDONLY,
    LineRole.INACTIVE: Direction.INACTIVE,
}


def write_answer(
    answered: Sequence[AnsweredMedia],
    bundle: Sequence[str],
    local: LocalSide,
    credentials: IceCredentials,
    version: int,
    extmap_allow_mixed: bool,
) -> str:
    """`bundle`: mids of the accepted lines, the tagged one first."""
    lines = [
        "v=0",
        f"o=- {local.session_id} {version} IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        f"a=group:BUNDLE {' '.join(bundle)}",
    ]
    if extmap_allow_mixed:
        lines.append("a=extmap-allow-mixed")
    lines.append("a=msid-semantic: WMS *")
    for item in answered:
        if item.line.role is LineRole.REJECTED:
            lines.extend(_rejected(item))
        else:
            lines.extend(_accepted(item, local, credentials))
    return "\r\n".join(lines) + "\r\n"


def _rejected(item: AnsweredMedia) -> Iterator[str]:
    offered = item.offered
    yield f"m={offered.kind} 0 {offered.protocol} {' '.join(offered.formats)}"
    yield "c=IN IP4 0.0.0.0"
    if offered.mid:
        yield f"a=mid:{offered.mid}"
    yield "a=inactive"


def _accepted(item: AnsweredMedia, local: LocalSide, credentials: IceCredentials) -> Iterator[str]:
    offered, line = item.offered, item.line
    numbers: list[int] = []
    for usable in item.payloads:
        numbers.append(usable.payload.number)
        if usable.rtx is not None:
            numbers.append(usable.rtx.number)
    port, address = 9, "0.0.0.0"
    if local.candidates:
        port, address = local.candidates[0].port, local.candidates[0].address
    yield f"m={offered.kind} {port} {offered.protocol} {' '.join(map(str, numbers))}"
    yield f"c=IN {'IP6' if ':' in address else 'IP4'} {address}"
    # RFC 9143 section 9.3 wants them on the tagged line alone; aiortc takes those of the last line of a transport, and
    # browsers take equal ones from everywhere
    yield from (f"a=candidate:{candidate}" for candidate in local.candidates)
    yield "a=end-of-candidates"
    yield f"a=ice-ufrag:{credentials.ufrag}"
    yield f"a=ice-pwd:{credentials.password}"
    yield f"a=fingerprint:sha-256 {local.fingerprint.hex(':').upper()}"
    yield "a=setup:passive"
    yield f"a=mid:{line.mid}"
    for extmap in item.extmaps:
        direction = extmap.direction.reversed
        suffix = "" if direction is Direction.SENDRECV else f"/{direction.value}"
        yield f"a=extmap:{extmap.id}{suffix} {extmap.uri}"
    if offered.extmap_allow_mixed:
        yield "a=extmap-allow-mixed"
    yield f"a={_DIRECTIONS[line.role].value}"
    if line.role is LineRole.SLOT:
        yield f"a=msid:slot-{line.mid} slot-{line.mid}"
    yield "a=rtcp-mux"
    if offered.rtcp_rsize:
        yield "a=rtcp-rsize"
    for usable in item.payloads:
        yield from _payload(usable.payload, item)
        if usable.rtx is not None:
            yield f"a=rtpmap:{usable.rtx.number} rtx/{usable.rtx.clock_rate}"
            yield f"a=fmtp:{usable.rtx.number} apt={usable.payload.number}"
    if line.role is LineRole.SLOT:
        if line.rtx_ssrc:
            yield f"a=ssrc-group:FID {line.ssrc} {line.rtx_ssrc}"
        for ssrc in (line.ssrc, line.rtx_ssrc):
            if ssrc:
                yield f"a=ssrc:{ssrc} cname:{local.cname}"


_ENCODING_NAMES = {"opus": "opus", "vp8": "VP8", "h264": "H264", "vp9": "VP9", "av1": "AV1"}


def _payload(payload: PayloadType, item: AnsweredMedia) -> Iterator[str]:
    channels = f"/{payload.channels}" if payload.name == "opus" else ""
    yield f"a=rtpmap:{payload.number} {_ENCODING_NAMES[payload.name]}/{payload.clock_rate}{channels}"
    for kind in item.feedback:
        if kind in payload.feedback:
            yield f"a=rtcp-fb:{payload.number} {kind}"
    parameters = _parameters(payload)
    if parameters:
        text = ";".join(f"{key}={value}" for key, value in parameters)
        yield f"a=fmtp:{payload.number} {text}"


def _parameters(payload: PayloadType) -> list[tuple[str, str]]:
    """fmtp of the answer: what *we* wish to receive, and for H.264, VP9 and AV1 which of several it is."""
    if payload.name == "opus":
        parameters = [("minptime", "10"), ("useinbandfec", "1")]
        if payload.parameter("usedtx") == "1":
            parameters.append(("usedtx", "1"))
        # stereo=1 alone only says what the client can play; asking everybody's microphone for stereo would double its
        # rate
        if payload.parameter("sprop-stereo") == "1":
            parameters.append(("stereo", "1"))
        return parameters
    echoed = {
        "h264": ("level-asymmetry-allowed", "packetization-mode", "profile-level-id"),
        "vp9": ("profile-id",),
        "av1": ("level-idx", "profile", "tier"),
    }.get(payload.name, ())
    return [(key, value) for key, value in payload.parameters if key in echoed]
