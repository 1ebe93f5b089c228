"""From a declared route to the function that serves a request: everything that can be decided beforehand is.

What a stranger sends is decoded by msgspec into the types of the handler. A mistake is answered with the place of the
mistake and the kind of it, never with what was sent: the value may be personal, and an answer gets copied into chats.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, get_origin

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from backplane.bounds import holds_times, odd_time
from backplane.idempotency import fingerprint_of, key_of, names_of, once
from backplane.lines import control_in, has_control
from backplane.parameters import converted, reader
from backplane.principal import Principal
from backplane.proxies import same_origin
from backplane.ratelimit import KeyedBuckets, address_key
from backplane.request_batching import BatchedRequest, RequestBatcher
from backplane.routes import ROUTE, TENANT, Answer, Call, Route, Services, forbidden, unauthorized
from backplane.web import BODY_TIMEOUT_S, Problem, media_type_of

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ODD_FIELD: Final = re.compile(r"unknown field `(?!\w{1,64}`)[^`]*.*?`(?= - at|$)", re.DOTALL)
_QUOTED_VALUE: Final = re.compile(r"(Invalid (?:enum )?value) .*?( - at `[^`]*`)?$", re.DOTALL)
_encoder: Final = msgspec.json.Encoder()

Part = Callable[[Call], Awaitable[object]]


def what_is_wrong(error: Exception, root: str) -> str:
    """The place and kind of a mistake, in msgspec's words, without the value."""
    text = _QUOTED_VALUE.sub(r"\1\2", str(error))
    return _ODD_FIELD.sub("unknown field", text).replace("`$", f"`{root}")[:200]


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Problem 408 or 413."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    content = request.content
    chunks = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(408, "request_timeout", "The body did not arrive in time.", {"Connection": "close"}) from None
    return b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem(413, "payload_too_large", f"The body may have at most {limit} bytes.", {"Connection": "close"})


def _control(status: int, place: str) -> Problem:
    return Problem(status, "bad_request", f"A text holds a line break or another control character - at `{place}`")


def refuse_odd_times(value: object, where: str, status: int) -> None:
    """Postgres and Python end their calendars at different days. Problem ``status`` bad_request."""
    if odd_time(value):
        raise Problem(status, "bad_request", f"A date of the {where} is not between 1800 and 2200.")


def _body_reader(route: Route) -> Part:
    limit = route.body_limit
    if route.body is bytes:
        return lambda call: read_body(call.request, limit)
    decode = msgspec.json.Decoder(route.body).decode
    with_times = holds_times(route.body)

    async def read(call: Call) -> object:
        request = call.request
        if route.body_optional and not request.can_read_body:
            return None
        if media_type_of(request) != "application/json":
            raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
        body = await read_body(request, limit)
        try:
            value = decode(body)
        except msgspec.ValidationError as error:
            raise Problem(422, "bad_request", what_is_wrong(error, "body")) from None
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise Problem(400, "bad_json", "The body is not JSON.") from None
        if (place := control_in(body, value)) is not None:
            raise _control(422, f"body{place}")
        if with_times:
            refuse_odd_times(value, "body", 422)
        return value

    return read


def _query_reader(model: type) -> Callable[[web.Request], object]:
    many = {
        item.encode_name
        for item in msgspec.structs.fields(model)
        if get_origin(item.type) in (list, tuple, set, frozenset)
    }
    readers = {item.encode_name: reader(item.type) for item in msgspec.structs.fields(model)}
    convert = partial(msgspec.convert, type=model)
    with_times = holds_times(model)

    def read(request: web.Request) -> object:
        query = request.query
        given: dict[str, object] = {}
        for name in query:
            texts = query.getall(name)
            if any(map(has_control, texts)):
                raise _control(400, "query")
            if name not in many and len(texts) > 1:
                raise Problem(400, "bad_request", "A query parameter that is not a list was given twice.")
            values = list(map(readers[name], texts)) if name in readers else texts
            given[name] = values if name in many else values[0]
        try:
            value = convert(given)
        except msgspec.ValidationError as error:
            raise Problem(400, "bad_request", what_is_wrong(error, "query")) from None
        if with_times:
            refuse_odd_times(value, "query", 400)
        return value

    return read


def tag_of(content: bytes) -> str:
    """A strong entity tag (RFC 9110 section 8.8.3) of these bytes."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def matches(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names ``etag`` (weak comparison, RFC 9110 section 13.1.2)."""
    asked = request.headers.get("If-None-Match")
    if asked is None:
        return False
    return asked.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in asked.split(","))


def _answer(request: web.Request, value: object, status: int, tagged: bool) -> web.StreamResponse:
    response = _response(request, value, status, tagged)
    if isinstance(value, Answer):
        for cookie in value.cookies:
            response.headers.add("Set-Cookie", cookie)
    return response


def _response(request: web.Request, value: object, status: int, tagged: bool) -> web.StreamResponse:
    if isinstance(value, web.StreamResponse):
        return value
    headers = {"Cache-Control": "no-store"}
    etag: str | None = None
    if isinstance(value, Answer):
        etag = value.etag and f'"{value.etag}"'
        status = value.status or status
        extra, value = value.headers, value.body
    else:
        extra = {}
    content = b"" if value is None else _encoder.encode(value)
    if tagged and etag is None:
        etag = tag_of(content)
    if etag:
        headers = {"Cache-Control": "private, no-cache", "ETag": etag}
    headers.update(extra)
    if etag and request.method in ("GET", "HEAD") and matches(request, etag):
        return web.Response(status=304, headers=headers)
    if value is None:
        return web.Response(status=204 if status == 200 else status, headers=headers)
    headers["Content-Type"] = "application/json"  # cheaper than content_type=
    return web.Response(body=content, status=status, headers=headers)


def _path_reader(path_types: Mapping[str, object]) -> Callable[[web.Request], dict[str, object]]:
    parts = tuple((name, kind, reader(kind), holds_times(kind)) for name, kind in path_types.items())

    def read(request: web.Request) -> dict[str, object]:
        given = request.match_info
        arguments: dict[str, object] = {}
        for name, kind, read_text, with_times in parts:
            try:
                if has_control(given[name]):
                    raise msgspec.ValidationError
                arguments[name] = value = converted(given[name], kind, read_text)
                if with_times and odd_time(value):
                    raise msgspec.ValidationError
            except msgspec.ValidationError:
                raise Problem(404, "not_found", f"There is nothing here: {name} is not one of ours.") from None
        return arguments

    return read


def _admission(route: Route) -> Callable[[web.Request, Principal | None], None]:
    """What is checked before anything is read: origin, right, rate."""
    right = route.right
    buckets = None if route.rate is None else KeyedBuckets(route.rate.per_s, route.rate.burst)
    visitors = None if route.visitors is None else KeyedBuckets(route.visitors.per_s, route.visitors.burst)
    changes = route.method not in _SAFE or route.socket

    def admit(request: web.Request, who: Principal | None) -> None:
        # A browser sends cookies along with requests that other sites make it send.
        by_cookie = "Cookie" in request.headers and "Authorization" not in request.headers
        if changes and by_cookie and not same_origin(request):
            raise Problem(403, "bad_origin", "This may be done from our own pages only.")
        if right is not None:
            if who is None:
                raise unauthorized()
            if right not in who.rights:
                raise forbidden(right)
        if buckets is not None:
            key = address_key(request.remote or "") if who is None else str(who.person)
            if not buckets.allow(key, time.monotonic()):
                raise Problem(429, "rate_limited", "Too many requests. Wait a moment.", {"Retry-After": "1"})
        # Whoever has no account begins anew as another person whenever they like, but not from another address.
        if visitors is None or who is None or not who.anonymous:
            return
        if not visitors.allow(address_key(request.remote or ""), time.monotonic()):
            detail = "Too many requests of visitors from one network. Sign in, or wait a minute."
            raise Problem(429, "rate_limited", detail, {"Retry-After": "60"})

    return admit


def bind(route: Route, services: Services) -> Handler:
    """The aiohttp handler of ``route``."""
    admit = _admission(route)
    read_path = _path_reader(route.path_types) if route.path_types else None
    read_query = None if route.query is None else _query_reader(route.query)
    body_reader = None if route.body is None else _body_reader(route)
    name = f"{route.method} {route.path}"
    status, handler, tagged, idempotent = route.status, route.handler, route.etag, route.idempotent
    batch = None if route.batch is None else RequestBatcher(route.batch)
    tenant_of, authenticate, clock = services.tenant_of, services.authenticate, services.clock

    async def serve(request: web.Request) -> web.StreamResponse:
        request[ROUTE] = route
        tenant = await tenant_of(request)
        request[TENANT] = tenant
        who = await authenticate(request)
        admit(request, who)
        call = Call(request, tenant, who, clock(), services)
        if idempotent:
            key_of(request)  # said before the body is read
        arguments = {} if read_path is None else read_path(request)
        if read_query is not None:
            arguments["query"] = read_query(request)
        if body_reader is not None:
            arguments["body"] = await body_reader(call)
        if not idempotent:
            response = _answer(request, await handler(call, **arguments), status, tagged)
        else:

            async def act() -> web.StreamResponse:
                return _answer(request, await handler(call, **arguments), status, tagged)

            fingerprint = fingerprint_of(request, arguments.get("body"))

            async def alone() -> web.StreamResponse:
                return await once(call, name, fingerprint, act)

            if batch is None:
                response = await alone()
            else:

                def respond(result: object) -> web.StreamResponse:
                    return _answer(request, result, status, tagged)

                response = await batch.serve(
                    BatchedRequest(call, names_of(call, name), fingerprint, arguments["body"], respond), alone
                )
        await call.committed()
        return response

    return serve
