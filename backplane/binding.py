"""From a declared route to the function that serves a request: everything that can be decided beforehand is.

What a stranger sends is decoded by msgspec into the types of the handler. A mistake is answered with the place of the
mistake and the kind of it, never with what was sent: the value may be personal, and an answer gets copied into chats.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, get_origin

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from backplane.api import TENANT, Answer, Call, Route, Services, forbidden, unauthorized
from backplane.ratelimit import KeyedBuckets, address_key
from backplane.web import BODY_TIMEOUT_S, Problem

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_QUOTED_VALUE: Final = re.compile(r"(Invalid (?:enum )?value) .*?( - at `[^`]*`)?$", re.DOTALL)
_encoder: Final = msgspec.json.Encoder()

Part = Callable[[Call], Awaitable[object]]


def what_is_wrong(error: Exception, root: str) -> str:
    """The place and kind of a mistake, in msgspec's words, without the value."""
    text = _QUOTED_VALUE.sub(r"\1\2", str(error))
    return text.replace("`$", f"`{root}")[:200]


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


def _body_reader(route: Route) -> Part:
    limit = route.body_limit
    if route.body is bytes:
        return lambda call: read_body(call.request, limit)
    decode = msgspec.json.Decoder(route.body).decode

    async def read(call: Call) -> object:
        request = call.request
        if route.body_optional and not request.can_read_body:
            return None
        if request.content_type != "application/json":
            raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
        body = await read_body(request, limit)
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise Problem(422, "bad_request", what_is_wrong(error, "body")) from None
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise Problem(400, "bad_json", "The body is not JSON.") from None

    return read


def _query_reader(model: type) -> Callable[[web.Request], object]:
    many = {
        item.encode_name
        for item in msgspec.structs.fields(model)
        if get_origin(item.type) in (list, tuple, set, frozenset)
    }
    convert = partial(msgspec.convert, type=model, strict=False)

    def read(request: web.Request) -> object:
        query = request.query
        given: dict[str, object] = {}
        for name in query:
            values = query.getall(name)
            if name not in many and len(values) > 1:
                raise Problem(400, "bad_request", "A query parameter that is not a list was given twice.")
            given[name] = values if name in many else values[0]
        try:
            return convert(given)
        except msgspec.ValidationError as error:
            raise Problem(400, "bad_request", what_is_wrong(error, "query")) from None

    return read


def _answer(value: object, status: int) -> web.StreamResponse:
    if isinstance(value, web.StreamResponse):
        return value
    headers = {"Cache-Control": "no-store"}
    if isinstance(value, Answer):
        headers.update(value.headers)
        status = value.status or status
        value = value.body
    if value is None:
        return web.Response(status=204 if status == 200 else status, headers=headers)
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json", headers=headers)


def bind(route: Route, services: Services) -> Handler:
    """The aiohttp handler of ``route``."""
    read_query = None if route.query is None else _query_reader(route.query)
    read_json = None if route.body is None else _body_reader(route)
    path_types = tuple(route.path_types.items())
    buckets = None if route.rate is None else KeyedBuckets(route.rate.per_s, route.rate.burst)
    right, status, handler = route.right, route.status, route.handler

    async def serve(request: web.Request) -> web.StreamResponse:
        tenant = await services.tenant_of(request)
        request[TENANT] = tenant
        who = await services.authenticate(request)
        if right is not None:
            if who is None:
                raise unauthorized()
            if right not in who.rights:
                raise forbidden(right)
        if buckets is not None:
            key = address_key(request.remote or "") if who is None else str(who.person)
            if not buckets.allow(key, time.monotonic()):
                raise Problem(429, "rate_limited", "Too many requests. Wait a moment.", {"Retry-After": "1"})
        call = Call(request, tenant, who, services.clock(), services)
        arguments: dict[str, object] = {}
        for name, kind in path_types:
            try:
                arguments[name] = msgspec.convert(request.match_info[name], kind, strict=False)
            except msgspec.ValidationError:
                raise Problem(404, "not_found", f"There is nothing here: {name} is not one of ours.") from None
        if read_query is not None:
            arguments["query"] = read_query(request)
        if read_json is not None:
            arguments["body"] = await read_json(call)
        value = await handler(call, **arguments)
        for step in call._after:
            await step()
        return _answer(value, status)

    return serve
