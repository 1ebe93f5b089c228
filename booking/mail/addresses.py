"""Where the links in mails lead: the server's public address, and the clinic's slug in the path."""

from uuid import UUID

from backplane.hosts import PublicUrls
from booking.links.link import Link, Links, Seat, Window, link_language, link_path
from booking.mail.letters import Visit


class PublicAddresses:
    """``urls``: where the server and its clinics are reached from outside."""

    def __init__(self, links: Links, urls: PublicUrls) -> None:
        self._links = links
        self._urls = urls

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
        return self._urls.base + link_path(visit.slug, self._links.sign(link))

    def page(self, slug: str, hosts: tuple[str, ...], path: str) -> str:
        """A page of the clinic, which is told from others by its host. Under a bare address it stays where its reader
        has signed in: cookies of 127.0.0.1 are not sent to SLUG.localhost."""
        base = self._urls.base if self._urls.is_address and not hosts else self._urls.of_clinic(slug, hosts)
        return base + path
