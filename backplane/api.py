"""Typed routes: a handler's annotations are its contract, checked at the border and printed as OpenAPI.

    routes = Routes(tag="booking")

    @routes.post("/v1/appointments", right="appointment.book", status=201, problems={409: ("slot_taken",)})
    async def book(call: Call, body: NewAppointment) -> Appointment: ...

Of a handler, ``body`` is the JSON body (or ``bytes``: as it came), ``query`` a struct of the query parameters, and
every other argument after ``call`` a part of the path. What it returns is encoded as JSON, None as 204; `Answer` adds
headers, and a `web.StreamResponse` goes out as it is. Everything is looked at once, by `install`: while a request is
served no annotation is read. Hooks in `Services` say who asks, so this module knows nothing of sessions or clinics.
"""

from collections.abc import Sequence

from aiohttp import web

from backplane.binding import bind
from backplane.openapi import add_documentation
from backplane.paging import Page, decode_cursor, encode_cursor, page_of
from backplane.principal import Principal, Tenant
from backplane.routes import TENANT, Answer, Call, Rate, Route, Routes, Services, forbidden, unauthorized, utc_now
from backplane.web import Problem

__all__ = [
    "TENANT",
    "Answer",
    "Call",
    "Page",
    "Principal",
    "Problem",
    "Rate",
    "Route",
    "Routes",
    "Services",
    "Tenant",
    "decode_cursor",
    "encode_cursor",
    "forbidden",
    "install",
    "page_of",
    "unauthorized",
    "utc_now",
]


def install(app: web.Application, routes: Sequence[Routes], services: Services) -> None:
    """Put ``routes`` into ``app``, with /openapi.json and /docs that describe them.

    Raises:
        ValueError: two handlers of one tag have the same name, or two routes the same method and path.
    """
    declared = [route for group in routes for route in group.all]
    for route in declared:
        serve = bind(route, services)
        if route.method == "GET" and not route.socket:
            app.router.add_get(route.path, serve)  # HEAD as well
        else:
            app.router.add_route(route.method, route.path, serve)
    add_documentation(app, declared, services.title, services.version, services.refusals)
