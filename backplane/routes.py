"""What is declared about the HTTP API: routes, calls, answers, and the services that handlers stand on.

`backplane.api` tells how they are used; `backplane.binding` makes them serve, `backplane.openapi` prints them.
"""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Generic, TypedDict, TypeVar, Unpack, get_args, get_origin, get_type_hints

from aiohttp import web
from msgspec import Struct

from backplane.bounds import check_type
from backplane.hosts import PublicUrls, asked_host
from backplane.postgres import Connection, Database
from backplane.principal import Principal, Tenant
from backplane.problems import Problem
from backplane.web import MAX_BODY_BYTES

if TYPE_CHECKING:
    from backplane.bus import Bus

T = TypeVar("T")
R = TypeVar("R")
H = TypeVar("H", bound=Callable[..., Awaitable[object]])

PATH_PART: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")

# status -> codes that may come with it, or just the statuses
Problems = Mapping[int, Sequence[str]] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A body with headers, a tag for `If-None-Match`, or another status than the route's. ``cookies``: the values of
    Set-Cookie headers."""

    body: T
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    status: int | None = None
    cookies: Sequence[str] = ()


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers stand on. The two hooks may raise `Problem`; ``authenticate`` gives None for a stranger.

    ``tenant_of`` runs first; its answer is at ``request[TENANT]`` when ``authenticate`` runs, and the route, which says
    who is let in, at ``request[ROUTE]``. ``refusals``: the codes
    that they raise, by status; they run before every route, so every route is documented to answer with them. ``urls``:
    where links lead that outlive a request.
    """

    db: Database
    bus: "Bus"
    tenant_of: Callable[[web.Request], Awaitable[Tenant]]
    authenticate: Callable[[web.Request], Awaitable[Principal | None]]
    clock: Callable[[], datetime] = utc_now
    title: str = "Wadud"
    version: str = "1"
    refusals: Mapping[int, Sequence[str]] = field(default_factory=dict)
    urls: PublicUrls = field(default_factory=PublicUrls)


class Call:
    """One request, with who asks and where. ``now`` is read once."""

    __slots__ = ("_after", "_held", "_spoilt", "now", "request", "services", "tenant", "who")

    def __init__(
        self, request: web.Request, tenant: Tenant, who: Principal | None, now: datetime, services: Services
    ) -> None:
        self.request = request
        self.tenant = tenant
        self.who = who
        self.now = now
        self.services = services
        self._held: Connection | None = None  # of an idempotent route, open while its handler runs
        self._spoilt = False
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

    @property
    def host(self) -> str:
        """Name of the host that was asked for, without port."""
        return asked_host(self.request).name

    @property
    def clinic_url(self) -> str:
        """Scheme and host for links to the clinic's pages: from the settings, never from the request."""
        return self.services.urls.of_clinic(self.tenant.slug, self.tenant.hosts)

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
        after the handler has returned: what the world outside shall hear goes to `after_commit`. An error that leaves
        this block there must leave the handler too, because nothing is rolled back before (a savepoint would cost two
        round trips).
        """
        if self._held is not None:
            try:
                yield self._held
            except BaseException:
                self._spoilt = True
                raise
            return
        async with self.services.db.tenant(self.tenant.id) as connection, connection.transaction():
            yield connection

    async def hold(self, connection: Connection, act: Callable[[], Awaitable[R]]) -> R:
        """Run ``act`` with ``connection``, which is in a transaction already, as that of `transaction`."""
        self._held = connection
        try:
            result = await act()
        finally:
            self._held = None
        if self._spoilt:
            raise RuntimeError("a handler went on after its transaction had failed")
        return result

    def after_commit(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step`` when the handler has returned well and everything is committed, before the answer goes out."""
        self._after.append(step)

    def undone(self) -> None:
        """What the handler did was rolled back: its steps of `after_commit` are dropped."""
        self._after.clear()

    async def committed(self) -> None:
        """Run the steps of `after_commit`."""
        for step in self._after:
            await step()


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
    batch: Callable[..., Awaitable[Sequence[object | None]]] | None
    etag: bool
    body_limit: int
    rate: Rate | None
    visitors: Rate | None
    guests: str | None
    second_factor: bool
    stale_tokens: bool
    content_type: str | None
    example: object
    body_example: object
    socket: bool
    body: object
    body_optional: bool
    query: type[Struct] | None
    path_types: Mapping[str, object]
    result: object


TENANT: Final = web.RequestKey("tenant", Tenant)
ROUTE: Final = web.RequestKey("route", Route)  # for the hooks of `Services`, like `TENANT`


class Admission(TypedDict, total=False):
    """Who is let in although something is missing, for the ``authenticate`` hook; by default nobody."""

    guests: str  # the part of the path that names what a guest's pass must be for
    second_factor: bool  # False: also whoever still lacks the one that their role needs
    stale_tokens: bool  # True: a token that does not hold any more counts as none, instead of being refused


class Options(Admission, total=False):
    """What may be said about a route beside its types."""

    right: str | None  # that the caller must hold; None = public
    status: int  # of success; 200, or 204 when the handler gives None
    problems: Problems  # the handler's own; those that every route has come by themselves
    idempotent: bool  # an Idempotency-Key is required, and the answer is kept with the effect
    batch: Callable[..., Awaitable[Sequence[object | None]]]  # of an idempotent route without parameters: see there
    etag: bool  # the answer to a read gets a tag of its content
    body_limit: int  # bytes
    rate: Rate | None
    visitors: Rate | None  # of all from one address who have no account, for what they could take from others
    content_type: str | None  # of a file or a page, which the handler returns as `web.Response`
    example: object  # of the answer
    body_example: object
    summary: str  # the first line of the handler's docstring when not given


class Routes:
    """The routes of one module. ``tag`` groups them in the documentation; ``admission`` is that of all which do not say
    otherwise."""

    def __init__(self, tag: str, **admission: Unpack[Admission]) -> None:
        self.tag = tag
        self._admission = admission
        self.all: list[Route] = []

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Read; HEAD is answered too. See `route`."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """See `route`."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """See `route`."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """See `route`."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """See `route`."""
        return self.route("DELETE", path, **options)

    def socket(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """A WebSocket: the handler answers with a `web.WebSocketResponse` of its own making. See `route`."""
        return self._declare("GET", path, options, socket=True)

    def route(self, method: str, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Declare an operation; `Options` tells the rest."""
        return self._declare(method, path, options, socket=False)

    def _declare(self, method: str, path: str, options: Options, socket: bool) -> Callable[[H], H]:
        def declare(handler: H) -> H:
            self.all.append(_described(self.tag, method, path, handler, {**self._admission, **options}, socket))
            return handler

        return declare


def _must_be_bounded(handler: Callable[..., Awaitable[object]], where: str, kind: object) -> None:
    try:
        check_type(kind)
    except TypeError as error:
        raise TypeError(f"{handler.__qualname__}: {where} {error}") from None


def _described(
    tag: str, method: str, path: str, handler: Callable[..., Awaitable[object]], options: Options, socket: bool
) -> Route:
    hints = get_type_hints(handler, include_extras=True)
    result = hints.pop("return", None)
    names = list(hints)
    if not names or hints[names[0]] is not Call:
        raise TypeError(f"{handler.__qualname__}: the first argument is call: Call")
    del hints[names[0]]
    body = hints.pop("body", None)
    query = hints.pop("query", None)
    in_path = set(PATH_PART.findall(path))
    if set(hints) != in_path:
        raise TypeError(f"{handler.__qualname__}: arguments {sorted(hints)} are not the path's {sorted(in_path)}")
    if query is not None and not (isinstance(query, type) and issubclass(query, Struct)):
        raise TypeError(f"{handler.__qualname__}: query is not a struct")
    idempotent = options.get("idempotent", False)
    if idempotent and (socket or method in ("GET", "HEAD")):
        raise TypeError(f"{handler.__qualname__}: a read needs no Idempotency-Key")
    guests = options.get("guests")
    if guests is not None and guests not in in_path:
        raise TypeError(f"{handler.__qualname__}: guests of {guests}, which is no part of the path")
    batch = options.get("batch")
    if batch is not None and (not idempotent or body is None or in_path or query is not None):
        raise TypeError(f"{handler.__qualname__}: done in batches is what is idempotent and has a body only")
    for where, kind in {"body": body, "query": query, **hints}.items():
        if kind is not None and kind is not bytes:
            _must_be_bounded(handler, where, kind)
    if get_origin(result) is Answer:
        (result,) = get_args(result)
    result = None if result is type(None) else result
    about, _, more = inspect.cleandoc(handler.__doc__ or "").partition("\n")
    problems = options.get("problems", ())
    return Route(
        method=method,
        path=path,
        handler=handler,
        tag=tag,
        name=handler.__name__,
        summary=options.get("summary", "") or about.rstrip(".") or handler.__name__.replace("_", " ").capitalize(),
        description=" ".join(more.split()),
        right=options.get("right"),
        status=options.get("status", 204 if result is None else 200),
        problems={status: tuple(problems[status]) if isinstance(problems, Mapping) else () for status in problems},
        idempotent=idempotent,
        batch=batch,
        etag=options.get("etag", False),
        body_limit=options.get("body_limit", MAX_BODY_BYTES),
        rate=options.get("rate"),
        visitors=options.get("visitors"),
        guests=guests,
        second_factor=options.get("second_factor", True),
        stale_tokens=options.get("stale_tokens", False),
        content_type=options.get("content_type"),
        example=options.get("example"),
        body_example=options.get("body_example"),
        socket=socket,
        body=body,
        body_optional=type(None) in get_args(body),
        query=query,
        path_types=hints,
        result=result,
    )
