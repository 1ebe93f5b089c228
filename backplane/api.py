"""Typed routes: a handler's annotations are its contract, checked at the border and printed as OpenAPI.

    routes = Routes(tag="booking")

    @routes.post("/v1/appointments", right="appointment.book", status=201, problems={409: ("slot_taken",)})
    async def book(call: Call, body: NewAppointment) -> Appointment: ...

Of a handler, ``body`` is the JSON body (or ``bytes``: as it came), ``query`` a struct of the query parameters, and
every other argument after ``call`` a part of the path. What it returns is encoded as JSON, None as 204; `Answer` adds
headers, and a `web.StreamResponse` goes out as it is. Everything is looked at once, by `install`: while a request is
served no annotation is read. Hooks in `Services` say who asks, so this module knows nothing of sessions or clinics.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

from aiohttp import web

from backplane.postgres import Connection, Database
from backplane.principal import Principal, Tenant
from backplane.web import MAX_BODY_BYTES, Problem

if TYPE_CHECKING:
    from backplane.bus import Bus

T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Awaitable[object]])

# status -> codes that may come with it, or just the statuses
Problems = Mapping[int, Sequence[str]] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A body with headers, a tag for `If-None-Match`, or another status than the route's."""

    body: T
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    status: int | None = None


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers stand on. The two hooks may raise `Problem`; ``authenticate`` gives None for a stranger.

    ``tenant_of`` runs first; its answer is at ``request[TENANT]`` when ``authenticate`` runs.
    """

    db: Database
    bus: "Bus"
    tenant_of: Callable[[web.Request], Awaitable[Tenant]]
    authenticate: Callable[[web.Request], Awaitable[Principal | None]]
    clock: Callable[[], datetime] = utc_now
    title: str = "Wadud"
    version: str = "1"


TENANT: Final = "wadud_tenant"


class Call:
    """One request, with who asks and where. ``now`` is read once."""

    __slots__ = ("_after", "_held", "now", "request", "services", "tenant", "who")

    def __init__(
        self, request: web.Request, tenant: Tenant, who: Principal | None, now: datetime, services: Services
    ) -> None:
        self.request = request
        self.tenant = tenant
        self.who = who
        self.now = now
        self.services = services
        self._held: Connection | None = None
        self._after: list[Callable[[], Awaitable[None]]] = []

    @property
    def db(self) -> Database:
        return self.services.db

    @property
    def bus(self) -> "Bus":
        return self.services.bus

    @property
    def principal(self) -> Principal:
        """Who asks. Problem 401 for a stranger."""
        if self.who is None:
            raise unauthorized()
        return self.who

    def may(self, right: str) -> bool:
        return self.who is not None and right in self.who.rights

    def require(self, right: str) -> Principal:
        """Who asks, when they hold ``right``. Problem 401 or 403."""
        who = self.principal
        if right not in who.rights:
            raise forbidden(right)
        return who

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection of the call's tenant, in one transaction.

        On an ``idempotent`` route it is a part of the transaction that keeps the answer, and is committed with it
        after the handler has returned: what the world outside shall hear goes to `after_commit`.
        """
        if self._held is not None:
            async with self._held.transaction():
                yield self._held
            return
        async with self.services.db.tenant(self.tenant.id) as connection, connection.transaction():
            yield connection

    def after_commit(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step`` when the handler has returned well and everything is committed, before the answer goes out."""
        self._after.append(step)


def unauthorized() -> Problem:
    return Problem(401, "unauthorized", "Sign in, then ask again.", {"WWW-Authenticate": "Bearer"})


def forbidden(right: str) -> Problem:
    return Problem(403, "forbidden", f"This needs the right {right}. Ask an administrator of the clinic for it.")


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests of one person (or address, for strangers) to one route."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: what was declared, and what the handler's annotations say."""

    method: str
    path: str
    handler: Callable[..., Awaitable[object]]
    tag: str
    name: str
    summary: str
    description: str
    right: str | None
    status: int
    problems: Mapping[int, tuple[str, ...]]
    idempotent: bool
    body_limit: int
    rate: Rate | None
    content_type: str | None
    example: object
    socket: bool
    body: object
    body_optional: bool
    query: type | None
    path_types: Mapping[str, object]
    result: object


class Routes:
    """The routes of one module. ``tag`` groups them in the documentation."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Route] = []

    def get(self, path: str, **options: object) -> Callable[[H], H]:
        """See `route`."""
        return self.route("GET", path, **options)  # type: ignore[arg-type]

    def post(self, path: str, **options: object) -> Callable[[H], H]:
        """See `route`."""
        return self.route("POST", path, **options)  # type: ignore[arg-type]

    def put(self, path: str, **options: object) -> Callable[[H], H]:
        """See `route`."""
        return self.route("PUT", path, **options)  # type: ignore[arg-type]

    def patch(self, path: str, **options: object) -> Callable[[H], H]:
        """See `route`."""
        return self.route("PATCH", path, **options)  # type: ignore[arg-type]

    def delete(self, path: str, **options: object) -> Callable[[H], H]:
        """See `route`."""
        return self.route("DELETE", path, **options)  # type: ignore[arg-type]

    def socket(self, path: str, **options: object) -> Callable[[H], H]:
        """A WebSocket: the handler answers with a `web.WebSocketResponse` of its own making. See `route`."""
        return self.route("GET", path, socket=True, **options)  # type: ignore[arg-type]

    def route(
        self,
        method: str,
        path: str,
        *,
        right: str | None = None,
        status: int | None = None,
        problems: Problems = (),
        idempotent: bool = False,
        body_limit: int = MAX_BODY_BYTES,
        rate: Rate | None = None,
        content_type: str | None = None,
        example: object = None,
        summary: str = "",
        socket: bool = False,
    ) -> Callable[[H], H]:
        """Declare an operation.

        ``right``: None = public. ``status``: of success; 200, or 204 when the handler gives None. ``problems``:
        statuses of the handler's own, best with their codes; those that every route has come by themselves.
        ``content_type``: when the answer is a file or a page, returned as `web.Response`. ``example``: of the answer.
        """

        def declare(handler: H) -> H:
            self.all.append(
                _described(
                    self.tag, method, path, handler,
                    right=right, status=status, problems=problems, idempotent=idempotent, body_limit=body_limit,
                    rate=rate, content_type=content_type, example=example, summary=summary, socket=socket,
                )
            )  # fmt: skip
            return handler

        return declare


def _described(
    tag: str, method: str, path: str, handler: Callable[..., Awaitable[object]], *,
    right: str | None, status: int | None, problems: Problems, idempotent: bool, body_limit: int, rate: Rate | None,
    content_type: str | None, example: object, summary: str, socket: bool,
) -> Route:  # fmt: skip
    hints = get_type_hints(handler, include_extras=True)
    result = hints.pop("return", None)
    names = list(hints)
    if not names or hints[names[0]] is not Call:
        raise TypeError(f"{handler.__qualname__}: the first argument is call: Call")
    del hints[names[0]]
    body = hints.pop("body", None)
    body_optional = body is not None and type(None) in get_args(body)
    query = hints.pop("query", None)
    in_path = {part.partition(":")[0].rstrip("}") for part in path.split("{")[1:]}
    in_path = {name.partition("}")[0] for name in in_path}
    if set(hints) != in_path:
        raise TypeError(f"{handler.__qualname__}: arguments {sorted(hints)} are not the path's {sorted(in_path)}")
    if get_origin(result) is Answer:
        (result,) = get_args(result)
    nothing = result is None or result is type(None)
    about, _, more = (handler.__doc__ or "").strip().partition("\n")
    known = problems if isinstance(problems, Mapping) else {number: () for number in problems}
    return Route(
        method=method, path=path, handler=handler, tag=tag, name=handler.__name__,
        summary=summary or about.rstrip(".") or handler.__name__.replace("_", " ").capitalize(),
        description=" ".join(more.split()), right=right, status=status or (204 if nothing else 200),
        problems={number: tuple(codes) for number, codes in known.items()}, idempotent=idempotent,
        body_limit=body_limit, rate=rate, content_type=content_type, example=example, socket=socket, body=body,
        body_optional=body_optional, query=query, path_types=hints, result=None if nothing else result,
    )  # fmt: skip


def install(app: web.Application, routes: Sequence[Routes], services: Services) -> None:
    """Put ``routes`` into ``app``, with /openapi.json and /docs that describe them."""
    from backplane.binding import bind

    for group in routes:
        for route in group.all:
            app.router.add_route(route.method, route.path, bind(route, services))
