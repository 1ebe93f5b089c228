"""Session descriptions of browsers, parsed strictly into frozen values (RFC 8866, RFC 9429 section 5).

The parser checks form and limits, nothing else: whether an offer can be answered is decided by `rtc.sdp_answer`. What
it does not know it skips (unknown attributes and lines say nothing to us), what it knows must be well-formed. Every
fault ends in an `SdpError` whose text is for the developer of the client. Our own answers parse too; the tests live
from that.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from rtc.sdp_types import (
    Direction,
    Extmap,
    Fingerprint,
    Media,
    NoCodecError,
    PayloadType,
    SdpError,
    SessionDescription,
)

__all__ = [
    "Direction",
    "Extmap",
    "Fingerprint",
    "Media",
    "NoCodecError",
    "PayloadType",
    "SdpError",
    "SessionDescription",
    "parse",
]

MAX_BYTES = 192 * 1024  # 30 video m-lines of Chromium, which writes 4.7 kB for each
MAX_LINES = 16_384
MAX_LINE_LENGTH = 4_096
MAX_MEDIA = 64
MAX_ATTRIBUTES = 1_024  # of the session or of one m-line
MAX_PAYLOAD_TYPES = 128
MAX_FEEDBACK = 64  # different kinds of rtcp-fb in one m-line; browsers write six
MAX_FINGERPRINTS = 16  # of the session or of one m-line
MAX_DIGEST_BYTES = 64  # of the longest hash that has a name (RFC 8122 section 5)
MAX_GROUPED_SSRCS = 256  # named in all ssrc-groups of one m-line; browsers write two for each encoding
MAX_MID = 16  # the header extension carries no more (RFC 9143 section 15.1)

RTP_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF", "RTP/SAVPF"})
DIGEST_BYTES = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}

_LINE_TYPES = frozenset("vosiuepcbtrzkam")
_CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+")
_HEX_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")
_ICE = re.compile(r"[A-Za-z0-9+/=_\-]+")  # ice-char, and base64url as some libraries write it
_EXTMAP = re.compile(r"([0-9]{1,5})(?:/(sendrecv|sendonly|recvonly|inactive))? (\S+)(?: .*)?")
_RTPMAP = re.compile(r"[0-9]{1,3} ([A-Za-z0-9!#$%&'*+\-.^_`{|}~]+)/([0-9]{1,9})(?:/([0-9]{1,3}))?")
_T = TypeVar("_T")
_DIRECTIONS = {direction.value: direction for direction in Direction}


class _Section:
    """Lines of the session part or of one m-line: attributes by name, in order."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.attributes: dict[str, list[str]] = {}
        self.count = 0

    def add(self, line: str) -> None:
        self.count += 1
        if self.count > MAX_ATTRIBUTES:
            raise SdpError(f"{self.where} has more than {MAX_ATTRIBUTES} attributes")
        name, _, value = line.partition(":")
        self.attributes.setdefault(name, []).append(value)

    def has(self, name: str) -> bool:
        return name in self.attributes

    def all(self, name: str) -> Sequence[str]:
        return self.attributes.get(name, ())

    def one(self, name: str) -> str:
        """The value of an attribute that may stand once; "" when it is missing."""
        values = self.attributes.get(name)
        if values is None:
            return ""
        if any(value != values[0] for value in values):
            raise SdpError(f"{self.where} has a={name} twice with different values")
        del values[1:]  # the session's are asked for again by each m-line
        return values[0]


_Alike: TypeAlias = "dict[str, tuple[list[list[str] | None], tuple[tuple[PayloadType, ...], tuple[Extmap, ...]]]]"
"""By kind: what the m-line read last says of codecs and extensions, and what that means."""


def _number(text: str, largest: int, what: str) -> int:
    # isdigit() alone would let other scripts' digits through
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > largest:
        raise SdpError(f"{what} must be a number from 0 to {largest}, not {text[:40]!r}")
    return int(text)


def _lines(text: str) -> list[str]:
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise SdpError(f"the session description is larger than {MAX_BYTES} bytes")
    if _CONTROL.search(text):
        raise SdpError("the session description holds a control character")
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > MAX_LINES:
        raise SdpError(f"the session description has more than {MAX_LINES} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_LENGTH:
            raise SdpError(f"line {number} is longer than {MAX_LINE_LENGTH} characters")
        if len(line) < 2 or line[1] != "=" or line[0] not in _LINE_TYPES or "\r" in line:
            raise SdpError(f"line {number} is not of the form letter=value: {line[:40]!r}")
    return lines


def parse(text: str) -> SessionDescription:
    """Parses an offer or answer. SdpError when it is malformed or beyond a limit."""
    lines = _lines(text)
    if not lines or lines[0] != "v=0":
        raise SdpError("the session description must begin with v=0")
    session = _Section("the session part")
    media_lines: list[tuple[str, _Section]] = []
    section = session
    origin = ""
    for line in lines[1:]:
        value = line[2:]
        if line[0] == "m":
            if len(media_lines) == MAX_MEDIA:
                raise SdpError(f"the session description has more than {MAX_MEDIA} m-lines")
            section = _Section(f"m-line {len(media_lines)}")
            media_lines.append((value, section))
        elif line[0] == "a":
            section.add(value)
        elif line[0] == "o" and section is session:
            origin = value
        elif line[0] == "v":
            raise SdpError("v= may stand only at the beginning")
    session_id, session_version = _origin(origin)
    alike: _Alike = {}
    media = tuple(_media(value, section, session, alike) for value, section in media_lines)
    mids = [line.mid for line in media if line.mid]
    if len(set(mids)) != len(mids):
        raise SdpError("two m-lines have the same mid")
    bundle: tuple[str, ...] = ()
    for group in session.all("group"):
        semantics, *members = group.split() or [""]
        if semantics == "BUNDLE" and not bundle:
            bundle = tuple(members)
    if len(set(bundle)) != len(bundle):
        raise SdpError("the BUNDLE group names an m-line twice")
    if not set(bundle) <= set(mids):
        raise SdpError("the BUNDLE group names a mid that no m-line has")
    return SessionDescription(
        session_id=session_id,
        session_version=session_version,
        media=media,
        bundle=bundle,
        ice_lite=session.has("ice-lite"),
        ice_options=frozenset(session.one("ice-options").split()),
        extmap_allow_mixed=session.has("extmap-allow-mixed"),
    )


def _origin(value: str) -> tuple[str, int]:
    fields = value.split(" ")
    if len(fields) != 6:
        raise SdpError("o= must have six fields")
    _number(fields[1], 2**64 - 1, "the session id of o=")
    return fields[1], _number(fields[2], 2**64 - 1, "the session version of o=")


def _codecs_and_extensions(
    kind: str, formats: list[str], section: _Section, alike: _Alike
) -> tuple[tuple[PayloadType, ...], tuple[Extmap, ...]]:
    """Browsers write the same codecs and extensions into every m-line of a kind: most are read only once."""
    written = [formats, *(section.attributes.get(name) for name in ("rtpmap", "fmtp", "rtcp-fb", "extmap"))]
    before, result = alike.get(kind, (None, None))
    if result is None or before != written:
        result = _payload_types(formats, section), _extensions(section)
        alike[kind] = written, result
    return result


def _media(value: str, section: _Section, session: _Section, alike: _Alike) -> Media:
    where = section.where
    fields = value.split(" ")
    if len(fields) < 4 or not all(fields):
        raise SdpError(f"{where} must be kind, port, protocol and formats: {value[:60]!r}")
    kind, port_text, protocol, *formats = fields
    if not _TOKEN.fullmatch(kind):
        raise SdpError(f"{where} is of the malformed kind {kind[:40]!r}")
    port = _number(port_text, 65535, f"the port of {where}")
    mid = section.one("mid")
    if mid and (len(mid) > MAX_MID or not _TOKEN.fullmatch(mid)):
        raise SdpError(f"{where} has a mid that is not a token of at most {MAX_MID} characters")
    bundle_only = section.has("bundle-only")
    if not mid and (port or bundle_only):
        raise SdpError(f"{where} has no mid")
    is_rtp = protocol in RTP_PROTOCOLS
    payload_types, extensions = _codecs_and_extensions(kind, formats, section, alike) if is_rtp else ((), ())
    ufrag, password = _credentials(section, session)
    return Media(
        kind=kind,
        port=port,
        protocol=protocol,
        payload_types=payload_types,
        formats=tuple(formats),
        mid=mid,
        direction=_direction(section) or _direction(session) or Direction.SENDRECV,
        bundle_only=bundle_only,
        rtcp_mux=section.has("rtcp-mux"),
        rtcp_rsize=section.has("rtcp-rsize"),
        extmap_allow_mixed=section.has("extmap-allow-mixed") or session.has("extmap-allow-mixed"),
        setup=section.one("setup") or session.one("setup"),
        ufrag=ufrag,
        password=password,
        fingerprints=_fingerprints(section) or _fingerprints(session),
        extensions=extensions,
        ssrcs=_ssrcs(section),
        ssrc_groups=_ssrc_groups(section),
        msid=section.all("msid")[0] if section.has("msid") else "",
        simulcast=section.has("simulcast") or section.has("rid"),
        candidates=tuple(section.all("candidate")),
    )


def _direction(section: _Section) -> Direction | None:
    found = [direction for name, direction in _DIRECTIONS.items() if section.has(name)]
    if len(found) > 1:
        raise SdpError(f"{section.where} has two directions")
    return found[0] if found else None


def _credentials(section: _Section, session: _Section) -> tuple[str, str]:
    ufrag = section.one("ice-ufrag") or session.one("ice-ufrag")
    password = section.one("ice-pwd") or session.one("ice-pwd")
    if ufrag and not (4 <= len(ufrag) <= 256 and _ICE.fullmatch(ufrag)):
        raise SdpError(f"{section.where} has an ice-ufrag that is not 4 to 256 ice characters")
    if password and not (22 <= len(password) <= 256 and _ICE.fullmatch(password)):
        raise SdpError(f"{section.where} has an ice-pwd that is not 22 to 256 ice characters")
    return ufrag, password


def _fingerprints(section: _Section) -> tuple[Fingerprint, ...]:
    found = []
    if len(section.all("fingerprint")) > MAX_FINGERPRINTS:
        raise SdpError(f"{section.where} has more than {MAX_FINGERPRINTS} fingerprints")
    for value in section.all("fingerprint"):
        algorithm, _, digits = value.partition(" ")
        algorithm = algorithm.lower()
        digits = digits.strip()
        if len(digits) > 3 * MAX_DIGEST_BYTES:  # the session's are read again for each m-line
            raise SdpError(f"{section.where} has a fingerprint of more than {MAX_DIGEST_BYTES} bytes")
        if not _HEX_PAIRS.fullmatch(digits):
            raise SdpError(f"{section.where} has a fingerprint that is not hexadecimal pairs")
        digest = bytes.fromhex(digits.replace(":", ""))
        expected = DIGEST_BYTES.get(algorithm)
        if expected is not None and len(digest) != expected:
            raise SdpError(f"{section.where} has a {algorithm} fingerprint of {len(digest)} bytes")
        found.append(Fingerprint(algorithm, digest))
    return tuple(found)


def _extensions(section: _Section) -> tuple[Extmap, ...]:
    found: dict[int, Extmap] = {}
    for value in section.all("extmap"):
        match = _EXTMAP.fullmatch(value)
        if match is None:
            raise SdpError(f"{section.where} has a malformed extmap: {value[:60]!r}")
        number = int(match[1])
        if number in found:
            raise SdpError(f"{section.where} uses the extension id {number} twice")
        found[number] = Extmap(number, match[3], _DIRECTIONS.get(match[2] or "", Direction.SENDRECV))
    return tuple(found.values())


def _ssrc(text: str, where: str) -> int:
    ssrc = _number(text, 2**32 - 1, f"an SSRC of {where}")
    if ssrc == 0:
        raise SdpError(f"{where} has the SSRC 0")
    return ssrc


def _ssrcs(section: _Section) -> tuple[int, ...]:
    ordered: dict[int, None] = {}
    for value in section.all("ssrc"):
        ordered[_ssrc(value.partition(" ")[0], section.where)] = None
    return tuple(ordered)


def _ssrc_groups(section: _Section) -> tuple[tuple[str, tuple[int, ...]], ...]:
    groups = []
    named = 0
    for value in section.all("ssrc-group"):
        semantics, *members = value.split() or [""]
        named += len(members)
        if named > MAX_GROUPED_SSRCS:
            raise SdpError(f"{section.where} names more than {MAX_GROUPED_SSRCS} SSRCs in groups")
        groups.append((semantics, tuple(_ssrc(member, section.where) for member in members)))
    return tuple(groups)


def _payload_types(formats: Sequence[str], section: _Section) -> tuple[PayloadType, ...]:
    where = section.where
    if len(formats) > MAX_PAYLOAD_TYPES:
        raise SdpError(f"{where} lists more than {MAX_PAYLOAD_TYPES} payload types")
    numbers = [_number(text, 127, f"a payload type of {where}") for text in formats]
    if len(set(numbers)) != len(numbers):
        raise SdpError(f"{where} lists a payload type twice")
    maps = _by_number(section, "rtpmap", _rtpmap)
    parameters = _by_number(section, "fmtp", _fmtp)
    feedback = _feedback(numbers, section)
    result = []
    for number in numbers:
        name, clock_rate, channels = maps.get(number, ("", 0, 1))
        result.append(
            PayloadType(
                number,
                name,
                clock_rate,
                channels,
                parameters.get(number, ()),
                feedback[number],
            )
        )
    return tuple(result)


def _feedback(numbers: Sequence[int], section: _Section) -> dict[int, frozenset[str]]:
    """The kinds of rtcp-fb by payload type. One line may speak of all of them, so their product is bounded too."""
    by_number: dict[int, set[str]] = {}
    everybody: set[str] = set()
    kinds: set[str] = set()
    for value in section.all("rtcp-fb"):
        target, _, words = value.partition(" ")
        kind = " ".join(words.split())
        kinds.add(kind)
        if target == "*":
            everybody.add(kind)
        else:
            number = _number(target, 127, f"the payload type of an rtcp-fb of {section.where}")
            by_number.setdefault(number, set()).add(kind)
    if len(kinds) > MAX_FEEDBACK:
        raise SdpError(f"{section.where} has more than {MAX_FEEDBACK} kinds of rtcp-fb")
    of_all = frozenset(everybody)
    return {number: of_all | by_number[number] if number in by_number else of_all for number in numbers}


def _by_number(section: _Section, name: str, read: Callable[[str, str], _T]) -> dict[int, _T]:
    found: dict[int, _T] = {}
    for value in section.all(name):
        number = _number(value.partition(" ")[0], 127, f"the payload type of an {name} of {section.where}")
        read_value = read(value, section.where)
        if found.setdefault(number, read_value) != read_value:
            raise SdpError(f"{section.where} has two different {name} for payload type {number}")
    return found


def _rtpmap(value: str, where: str) -> tuple[str, int, int]:
    match = _RTPMAP.fullmatch(value.rstrip())
    if match is None:
        raise SdpError(f"{where} has a malformed rtpmap: {value[:60]!r}")
    return match[1].lower(), int(match[2]), int(match[3] or 1)


def _fmtp(value: str, where: str) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for item in value.partition(" ")[2].split(";"):
        key, _, content = item.strip().partition("=")
        if key:
            pairs.setdefault(key.strip().lower(), content.strip())
    return tuple(pairs.items())
