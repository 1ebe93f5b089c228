"""Where the links in mails lead: the server's public address, and the clinic's slug in the path."""

from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import UUID

from booking.join.links import Link, Links, Seat, Window, link_language, link_path
from booking.mail.letters import Visit


class PublicAddresses:
    """``base_url``: scheme and host under which the server is reached from outside, without a slash at its
    end; it may be set later, when the port is known."""

    def __init__(self, links: Links, base_url: str) -> None:
        self._links = links
        self.base_url = base_url

    def join(self, visit: Visit, patient: UUID, locale: str) -> str:
        """The patient's link; it dies with the visit's epoch and works in its window."""
        window = Window.around(visit.start, visit.end)
        link = Link(
            tenant=visit.tenant,
            appointment=visit.appointment,
            seat=Seat.PATIENT,
            holder=patient,
            epoch=visit.epoch,
            opens_at=window.opens_at,
            closes_at=window.closes_at,
            language=link_language(locale),
        )
        return self.base_url + link_path(visit.slug, self._links.sign(link))

    def page(self, slug: str, path: str) -> str:
        """A page of the clinic, which is told from others by its host."""
        parts = urlsplit(self.base_url)
        if _is_address(parts.hostname or ""):
            return f"{self.base_url}{path}"
        return f"{parts.scheme}://{slug}.{parts.netloc}{path}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
