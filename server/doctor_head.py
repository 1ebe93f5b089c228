"""What a doctor's page says in its head: title, description, address and JSON-LD of the profile.

It is in the language of the clinic, as search engines fetch it; the page itself speaks the visitor's.
"""

from aiohttp import web

from backplane.routes import Services
from booking.providers import views
from server.pages import FindHead, Head


def doctor_head(services: Services) -> FindHead:
    """Heads from the profiles of whichever clinic a request is for."""

    async def find(request: web.Request, slug: str) -> Head | None:
        clinic = await services.tenant_of(request)
        address = services.urls.of_clinic(clinic.slug, clinic.hosts)
        async with services.db.tenant(clinic.id) as connection:
            profile = await views.profile(connection, slug, clinic.locale, address, services.clock())
        return None if profile is None else profile.seo

    return find
