"""Who asks, and at which clinic: the two values that every call of the API carries.

They are made by what is installed above (sessions, host names, join links); here nothing is checked but membership.
A right is a word such as ``appointment.book``; which role holds which is data of booking, and whether the subject is
one's own or the clinic's is for the handler to see.
"""

from uuid import UUID

from msgspec import Struct

ROLES = frozenset(
    {
        "anonymous",
        "patient",
        "doctor",
        "staff",
        "clinic_admin",
        "platform_admin",
        "finance",
        "support",
        "guest_link",
    }
)


class Tenant(Struct, frozen=True):
    """A clinic. ``hosts``: names without port that lead to it; ``region``: ISO 3166-1; ``timezone``: IANA."""

    id: int
    slug: str
    name: str
    locale: str = "en"
    timezone: str = "Asia/Karachi"
    region: str = "PK"
    hosts: tuple[str, ...] = ()


class Principal(Struct, frozen=True):
    """A person with a session. ``amr``: how they proved themselves (RFC 8176: otp, pwd, mfa ...)."""

    person: UUID
    tenant: int
    roles: frozenset[str]
    rights: frozenset[str]
    session: UUID
    anonymous: bool = False
    amr: frozenset[str] = frozenset()

    def may(self, right: str) -> bool:
        return right in self.rights
