"""What booking refuses, by kind. The code of a refusal says what exactly, and is documented with the route."""

from backplane.refusals import Kind, Refusal

__all__ = [
    "Conflict",
    "Denied",
    "Failed",
    "Gone",
    "Invalid",
    "Malformed",
    "NotFound",
    "Refusal",
    "TooLarge",
    "TooMany",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "UpstreamFailed",
    "forbidden",
]


class Malformed(Refusal):
    """What was sent cannot be read."""

    kind = Kind.MALFORMED


class Invalid(Refusal):
    """What was sent can be read, but makes no sense here."""

    kind = Kind.INVALID


class Unauthenticated(Refusal):
    """Who asks has not said who they are, or cannot prove it."""

    kind = Kind.UNAUTHENTICATED


class Denied(Refusal):
    """Who asks may not do this."""

    kind = Kind.DENIED


class NotFound(Refusal):
    """There is no such thing, or none that the one who asks may know of."""

    kind = Kind.NOT_FOUND


class Conflict(Refusal):
    """Not as things stand now: somebody was faster, it is too late or too early, it was done already."""

    kind = Kind.CONFLICT


class Gone(Refusal):
    """It was there once, and will not come back."""

    kind = Kind.GONE


class TooLarge(Refusal):
    """More than is kept."""

    kind = Kind.TOO_LARGE


class Unsupported(Refusal):
    """No kind of thing that is taken here."""

    kind = Kind.UNSUPPORTED


class TooMany(Refusal):
    """Too often, or too many at once: wait."""

    kind = Kind.TOO_MANY


class Unavailable(Refusal):
    """We cannot do this just now."""

    kind = Kind.UNAVAILABLE


class UpstreamFailed(Refusal):
    """Somebody whom we had to ask did not answer, or not in a way that can be believed."""

    kind = Kind.UPSTREAM_FAILED


class Failed(Refusal):
    """We cannot do this, and it is not the fault of the one who asks."""

    kind = Kind.FAILED


def forbidden(right: str) -> Denied:
    """The refusal for somebody who lacks ``right``."""
    return Denied("forbidden", f"This needs the right {right}. Ask an administrator of the clinic for it.")
