"""All routes of identity, for whoever puts the server together."""

from typing import Final

from backplane.api import Routes
from booking.identity import auth_routes, clinic_routes, factor_routes, me_routes, oidc_routes, platform_routes

ROUTES: Final[tuple[Routes, ...]] = (
    auth_routes.routes,
    factor_routes.routes,
    oidc_routes.routes,
    me_routes.routes,
    clinic_routes.routes,
    platform_routes.routes,
)
