"""Which payload types of an m-line we forward, and which of two participants' payload types mean the same.

The media worker sends a publisher's packet on to a slot under the slot's payload type with equal (codec, variant). A
variant is therefore a pure function of what fmtp says, the same for every participant: H.264 profile and packetization
mode (RFC 6184 section 8.2.2; levels are not told apart, as level-asymmetry-allowed makes them a property of each
direction), the VP9 profile-id, the AV1 profile. A slot whose receiver lacks a variant but decodes it all the same
carries a second entry with that variant and the number of its own payload type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rtc.sdp_types import PayloadType

if TYPE_CHECKING:
    from rtc._worker import Codec

CODEC_NUMBERS: Final = {"opus": 1, "vp8": 2, "h264": 3, "vp9": 4, "av1": 5}  # enum wd_codec
CLOCK_RATES: Final = {"opus": 48_000, "vp8": 90_000, "h264": 90_000, "vp9": 90_000, "av1": 90_000}
AUDIO_CODECS: Final = frozenset({"opus"})
DEFAULT_PREFERENCE: Final[tuple[str, ...]] = ()  # the offerer's own order (RFC 3264 section 6.1)

MAX_WORKER_CODECS = 16  # WD_MAX_CODECS
RTCP_CONFLICT = range(64, 96)  # RFC 5761 section 4: never RTP beside multiplexed RTCP


class H264Profile(IntEnum):
    CONSTRAINED_BASELINE = 0
    BASELINE = 1
    MAIN = 2
    CONSTRAINED_HIGH = 3
    HIGH = 4
    HIGH_444 = 5


# (profile_idc, mask and value of the constraint byte): RFC 6184 section 8.1, table 5
_PROFILES: Final = (
    (0x42, 0b0100_1111, 0b0100_0000, H264Profile.CONSTRAINED_BASELINE),
    (0x4D, 0b1000_1111, 0b1000_0000, H264Profile.CONSTRAINED_BASELINE),
    (0x58, 0b1100_1111, 0b1100_0000, H264Profile.CONSTRAINED_BASELINE),
    (0x42, 0b0100_1111, 0b0000_0000, H264Profile.BASELINE),
    (0x58, 0b1100_1111, 0b1000_0000, H264Profile.BASELINE),
    (0x4D, 0b1010_1111, 0b0000_0000, H264Profile.MAIN),
    (0x64, 0b1111_1111, 0b0000_1100, H264Profile.CONSTRAINED_HIGH),
    (0x64, 0b1111_1111, 0b0000_0000, H264Profile.HIGH),
    (0xF4, 0b1111_1111, 0b0000_0000, H264Profile.HIGH_444),
)

# A stream of the profile on the left plays in decoders of these, the nearest first. Baseline in a constrained baseline
# decoder is beyond the letter: the tools that it may lack (FMO, ASO, redundant slices) are used by no real-time
# encoder, and Chromium names its stream 42001f.
_PLAYS_IN: Final = {
    H264Profile.CONSTRAINED_BASELINE: (
        H264Profile.BASELINE,
        H264Profile.MAIN,
        H264Profile.CONSTRAINED_HIGH,
        H264Profile.HIGH,
    ),
    H264Profile.BASELINE: (
        H264Profile.CONSTRAINED_BASELINE,
        H264Profile.MAIN,
        H264Profile.CONSTRAINED_HIGH,
        H264Profile.HIGH,
    ),
    H264Profile.MAIN: (H264Profile.HIGH,),
    H264Profile.CONSTRAINED_HIGH: (H264Profile.HIGH,),
    H264Profile.HIGH: (),
    H264Profile.HIGH_444: (),
}


@dataclass(frozen=True, slots=True)
class Usable:
    """A payload type that we forward, with its retransmission companion."""

    payload: PayloadType
    rtx: PayloadType | None
    variant: int


def h264_variant(profile: H264Profile, packetization_mode: int) -> int:
    return profile * 2 + packetization_mode


def h264_profile(profile_level_id: str) -> H264Profile | None:
    """The profile of six hexadecimal digits; None when malformed or not one that is told apart in WebRTC."""
    try:
        octets = bytes.fromhex(profile_level_id)
    except ValueError:
        return None
    if len(octets) != 3 or len(profile_level_id) != 6:
        return None
    for profile_idc, mask, value, profile in _PROFILES:
        if octets[0] == profile_idc and octets[1] & mask == value:
            return profile
    return None


def variant_of(payload: PayloadType) -> int | None:
    """The variant number of a payload type whose name is in CODEC_NUMBERS, None when it is none that we forward."""
    if payload.name == "h264":
        profile = h264_profile(payload.parameter("profile-level-id") or "42000a")  # default: RFC 6184 section 8.1
        mode = payload.parameter("packetization-mode") or "0"
        return h264_variant(profile, int(mode)) if profile is not None and mode in ("0", "1") else None
    if payload.name == "vp9":
        return _small(payload.parameter("profile-id"), 3)  # RFC 9628 section 6.1: 0 when missing
    if payload.name == "av1":
        return _small(payload.parameter("profile"), 2)
    return 0


def _small(text: str | None, largest: int) -> int | None:
    if text is None:
        return 0
    return int(text) if text in [str(number) for number in range(largest + 1)] else None


def usable(kind: str, payloads: Sequence[PayloadType], preference: Sequence[str] = DEFAULT_PREFERENCE) -> list[Usable]:
    """What an m-line of that kind offers and we forward, in the order in which the answer should list it.

    Codecs stand in the order of `preference`, those not named after them in the offer's order; inside one, the variant
    that most can decode comes first. Of two payload types with the same codec and variant the first wins. At most
    MAX_WORKER_CODECS are returned.
    """
    rtx: dict[int, PayloadType] = {}
    for payload in payloads:
        apt = payload.parameter("apt") or ""
        if payload.name == "rtx" and apt.isascii() and apt.isdigit() and payload.number not in RTCP_CONFLICT:
            rtx.setdefault(int(apt[:4]), payload)
    found: dict[tuple[str, int], Usable] = {}
    for payload in payloads:
        name = payload.name
        if name not in CODEC_NUMBERS or (name in AUDIO_CODECS) != (kind == "audio"):
            continue
        if payload.clock_rate != CLOCK_RATES[name] or payload.number in RTCP_CONFLICT:
            continue
        if name == "opus" and payload.channels != 2:  # RFC 7587 section 7
            continue
        variant = variant_of(payload)
        if variant is not None:
            companion = rtx.get(payload.number)
            if companion is not None and companion.clock_rate != payload.clock_rate:
                companion = None
            found.setdefault((name, variant), Usable(payload, companion, variant))
    names = dict.fromkeys((*preference, *(name for name, _ in found)))
    rank = {name: index for index, name in enumerate(names)}
    ordered = sorted(found.values(), key=lambda item: (rank[item.payload.name], *_inner_rank(item)))
    return ordered[:MAX_WORKER_CODECS]


def _inner_rank(item: Usable) -> tuple[int, int]:
    if item.payload.name == "h264":
        profile, mode = divmod(item.variant, 2)
        return (
            1 - mode,
            profile,
        )  # mode 1 does without oversized single NAL units, constrained baseline plays everywhere
    return (item.variant, 0)


def worker_codecs(items: Sequence[Usable], *, nack: bool, pli: bool) -> "list[Codec]":
    """The worker's form of what the answer lists; `nack` and `pli`: whether the answer takes this feedback where
    offered."""
    return [
        {
            "codec": CODEC_NUMBERS[item.payload.name],
            "variant": item.variant,
            "payload_type": item.payload.number,
            "rtx_payload_type": item.rtx.number if item.rtx else 0,
            "nack": nack and "nack" in item.payload.feedback,
            "pli": pli and "nack pli" in item.payload.feedback,
            "clock_rate": item.payload.clock_rate,
        }
        for item in items
    ]


@lru_cache(maxsize=1024)
def _shared(entries: tuple[tuple[int, int, int, int, bool, bool, int], ...]) -> "tuple[Codec, ...]":
    return tuple(
        {
            "codec": codec,
            "variant": variant,
            "payload_type": payload_type,
            "rtx_payload_type": rtx_payload_type,
            "nack": nack,
            "pli": pli,
            "clock_rate": clock_rate,
        }
        for codec, variant, payload_type, rtx_payload_type, nack, pli, clock_rate in entries
    )


def share(codecs: "Sequence[Codec]") -> "tuple[Codec, ...]":
    """An equal tuple, the same object for equal arguments: the lines of one browser differ in nothing, and there are
    many."""
    return _shared(
        tuple(
            (
                entry["codec"],
                entry["variant"],
                entry["payload_type"],
                entry["rtx_payload_type"],
                entry["nack"],
                entry["pli"],
                entry["clock_rate"],
            )
            for entry in codecs
        )
    )


def with_fallbacks(codecs: "Sequence[Codec]") -> "list[Codec]":
    """A slot's codecs and, for each H.264 variant that it lacks, one that its receiver decodes instead, if any."""
    result = list(codecs)
    own = {entry["variant"]: entry for entry in codecs if entry["codec"] == CODEC_NUMBERS["h264"]}
    for profile in H264Profile:
        for mode in (1, 0):
            variant = h264_variant(profile, mode)
            if variant in own or len(result) == MAX_WORKER_CODECS:
                continue
            for entry_variant in _substitutes(profile, mode):
                if entry_variant in own:
                    substitute = own[entry_variant].copy()
                    substitute["variant"] = variant
                    result.append(substitute)
                    break
    return result


def _substitutes(profile: H264Profile, mode: int) -> list[int]:
    """Receiving variants that play `profile` in `mode`, best first: a mode 1 receiver reads mode 0 too, never the other
    way round."""
    modes = (0, 1) if mode == 0 else (1,)
    return [h264_variant(player, m) for player in (profile, *_PLAYS_IN[profile]) for m in modes]
