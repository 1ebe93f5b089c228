"""Short signed values: a fixed layout of facts and a 16-byte HMAC (RFC 2104, SHA-256 truncated as in RFC 4868).

They are links, passes, gestures and live tickets. A JWT of the same facts is three times as long, and a link has
to fit an SMS. The purpose goes into the key, as the ``typ`` of a JWT does into its header, so that a value of one kind
never passes for another. The key id stands in the clear, and every known key reads, so keys rotate without a gap.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Mapping
from typing import Final

_MAC_BYTES: Final = 16
_HEAD: Final = struct.Struct(">BB")


class BadSignature(Exception):
    """Not a value of ours and of this kind, or altered."""


class Signed:
    """Signs and reads values of one kind.

    ``masters``: by key id (0 to 255) the keys from which those of this kind are derived; ``current`` signs.
    ``layout`` is in the language of `struct`. A layout that changes is another ``version``.
    """

    def __init__(self, masters: Mapping[int, bytes], current: int, purpose: str, version: int, layout: str) -> None:
        if current not in masters or not all(0 <= kid <= 255 for kid in masters):
            raise ValueError("the current key must be among the keys, and ids fit a byte")
        self._keys = {kid: hmac.digest(key, purpose.encode(), hashlib.sha256) for kid, key in masters.items()}
        self._current = current
        self._version = version
        self._layout = struct.Struct(layout)
        size = _HEAD.size + self._layout.size + _MAC_BYTES
        self.characters = (size * 8 + 5) // 6
        """The length of every value."""

    def sign(self, *facts: bytes | int) -> str:
        """ValueError when a fact does not fit the layout."""
        try:
            content = _HEAD.pack(self._version, self._current) + self._layout.pack(*facts)
        except struct.error as error:
            raise ValueError(f"this does not fit: {error}") from None
        return _text(content + self._mac(self._current, content))

    # the layout decides which of bytes and int each fact is, and the caller knows the layout
    def read(self, text: str) -> tuple[bytes | int, ...]:
        """The facts. BadSignature."""
        content = self._bytes(text)
        facts, mac = content[:-_MAC_BYTES], content[-_MAC_BYTES:]
        version, kid = _HEAD.unpack_from(facts)
        if version != self._version or kid not in self._keys or not hmac.compare_digest(self._mac(kid, facts), mac):
            raise BadSignature
        return self._layout.unpack_from(facts, _HEAD.size)

    def _mac(self, kid: int, content: bytes) -> bytes:
        return hmac.digest(self._keys[kid], content, hashlib.sha256)[:_MAC_BYTES]

    def _bytes(self, text: str) -> bytes:
        if len(text) != self.characters or not text.isascii():
            raise BadSignature
        try:
            content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadSignature from None
        # The last character may carry spare bits; only the spelling that we wrote counts.
        if _text(content) != text:
            raise BadSignature
        return content


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
