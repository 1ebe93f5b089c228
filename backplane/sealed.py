"""Secrets at rest: what the database holds of them is useless without a key that the database has never seen.

The key lies in the data directory (or arrives as a secret file there) and is the same on every server of an
installation. From it come one key for sealing (JWE, RFC 7516, direct A256GCM) and one for each purpose of an HMAC, so
that a value made for one purpose says nothing in another. The purpose of a sealed text is part of its protected header:
a TOTP secret copied into the column of a signing key does not open.
"""

import hashlib
import hmac
from pathlib import Path
from typing import Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from backplane.tokens import private_key

FILE: Final = "sealing.key"
_ENCODINGS: Final = ["dir", "A256GCM"]


class SealError(Exception):
    """A sealed text was not made by this key, for this purpose, or was changed."""


class Sealer:
    """Seals and opens small secrets, and makes keyed fingerprints of those that are only compared."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a sealing key has 32 bytes or more")
        self._root = key
        self._key = OctKey.import_key(self._derived("seal"))

    @classmethod
    def open(cls, data: Path) -> "Sealer":
        """With the key under ``data``, made when missing. OSError or ValueError when that cannot be done."""
        return cls(private_key(data / FILE))

    def seal(self, content: bytes, purpose: str) -> str:
        """``content`` as a text that only `unseal` with the same purpose turns back."""
        header = {"alg": "dir", "enc": "A256GCM", "typ": purpose}
        return jwe.encrypt_compact(header, content, self._key, algorithms=_ENCODINGS)

    def unseal(self, text: str, purpose: str) -> bytes:
        """What was sealed. Raises SealError."""
        try:
            opened = jwe.decrypt_compact(text, self._key, algorithms=_ENCODINGS)
        except (JoseError, ValueError) as error:
            raise SealError(type(error).__name__) from None
        if opened.headers().get("typ") != purpose or opened.plaintext is None:
            raise SealError("sealed for another purpose")
        return opened.plaintext

    def mac(self, purpose: str, *parts: bytes | str) -> bytes:
        """HMAC-SHA256 over ``parts``, each with its length, under the key of ``purpose``."""
        digest = hmac.new(self._derived(f"mac {purpose}"), digestmod=hashlib.sha256)
        for part in parts:
            content = part.encode() if isinstance(part, str) else part
            digest.update(len(content).to_bytes(4, "big") + content)
        return digest.digest()

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self._root, f"wadud {purpose}".encode(), "sha256")
