"""Contacts in the one form in which they are kept and compared.

An e-mail address is compared without regard to case: RFC 5321 lets the part before the @ be case-sensitive, no provider
does, and a person who types a capital is the same person. A phone number is E.164, read with the clinic's region in
mind.
"""

import re
import unicodedata
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["email", "phone"]
MAX_EMAIL_CHARS: Final = 254  # RFC 5321 section 4.5.3.1
MAX_LABEL_CHARS: Final = 63  # RFC 1035 section 2.3.4; Punycode does not make a label shorter
_LOCAL: Final = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Contact(Struct, frozen=True):
    """Where somebody can be reached; ``value`` is normalised."""

    kind: Kind
    value: str

    @property
    def proof(self) -> str:
        """What a code sent there proves, as an RFC 8176 method (e-mail has none registered)."""
        return "email" if self.kind == "email" else "sms"


def email(text: str) -> Contact:
    """ValueError when it cannot be an address."""
    if len(text) > MAX_EMAIL_CHARS:  # before letters unfold and the domain is translated, which takes long
        raise ValueError("this is not an e-mail address")
    local, at, domain = unicodedata.normalize("NFKC", text).strip().rpartition("@")
    if any(len(label) > MAX_LABEL_CHARS for label in domain.split(".")):
        raise ValueError("this is not an e-mail address")
    try:
        ascii_domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        ascii_domain = ""
    labels = ascii_domain.split(".")
    if (
        not at
        or not _LOCAL.fullmatch(local)
        or local.startswith(".")
        or local.endswith(".")
        or ".." in local
        or len(labels) < 2
        or not all(_LABEL.fullmatch(label) for label in labels)
    ):
        raise ValueError("this is not an e-mail address")
    value = f"{local.lower()}@{ascii_domain}"
    if len(value) > MAX_EMAIL_CHARS:
        raise ValueError("this is not an e-mail address")
    return Contact("email", value)


def phone(text: str, region: str) -> Contact:
    """``region``: ISO 3166-1 of a number without country code. ValueError when nobody can have this number."""
    import phonenumbers  # its tables take a tenth of a second, and most processes never see a number

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise ValueError("this is not a phone number") from None
    if not phonenumbers.is_valid_number(number):
        raise ValueError("this is not a phone number")
    return Contact("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
