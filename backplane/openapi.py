"""The OpenAPI 3.1 description of declared routes, at /openapi.json, and as a page to read at /docs.

Both are made once, in a thread, when somebody first asks: that takes a tenth of a second, for which no start waits.
Schemas are msgspec's own, so what is described is what is decoded. Every route tells each problem that it can answer
with and what its ``code`` may be: those declared, and those that come with what the route uses.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from backplane import reference
from backplane.binding import matches, tag_of
from backplane.bounds import YEARS_PATTERN
from backplane.idempotency import HEADER, LONGEST, REPLAYED, SHORTEST
from backplane.routes import PATH_PART, Route

# A document is nested JSON, whose shape is that of the OpenAPI specification.
Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_PROBLEM: Final = "application/problem+json"
_KINDS: Final = {"/openapi.json": "application/json", "/docs": "text/html", "/docs.css": "text/css"}
NOWHERE: Final[Mapping[int, Sequence[str]]] = {}

# What the codes mean that routes do not declare themselves.
SHARED_CODES: Final[Mapping[str, str]] = {
    "bad_body": "The body is not what its head says it is.",
    "bad_cursor": "The cursor is not one of ours.",
    "bad_host": "The header Host is not a host name with a port.",
    "bad_json": "The body is not JSON.",
    "bad_origin": "A request with cookies came from a page that is not ours.",
    "bad_token": "The access token is not one of ours, or is for another clinic.",
    "bad_request": "A parameter or a field is wrong; the detail names it.",
    "database_unavailable": "The database cannot be reached; try again after Retry-After seconds.",
    "database_busy": "The database gave up, and nothing was changed; try again after Retry-After seconds.",
    "forbidden": "The right that this needs is missing.",
    "idempotency_in_progress": "The first request with this key is still at work.",
    "idempotency_key_required": f"The header {HEADER} is missing or malformed.",
    "idempotency_mismatch": "The key was used for another request.",
    "mfa_required": "The role of who asks needs a second factor, which was not entered.",
    "not_found": "There is no such thing.",
    "payload_too_large": "The body is longer than this route takes.",
    "rate_limited": "Too many requests; try again after Retry-After seconds.",
    "request_timeout": "The body did not arrive in time.",
    "server_error": "Our fault; it has been logged under the answer's X-Request-Id.",
    "session_ended": "The session of the access token was ended; sign in again.",
    "storage_full": "There is no room to keep this, and nothing was changed; try again after Retry-After seconds.",
    "token_expired": "The access token is too old; get a new one with the refresh token.",
    "unauthorized": "Sign in first.",
    "unknown_clinic": "No clinic has this host name.",
    "unknown_expectation": "Of expectations only 100-continue is known.",
    "unsupported_coding": "Bodies are sent without Content-Encoding.",
    "unsupported_media_type": "The body must be application/json.",
}


class ProblemBody(Struct, frozen=True):
    """What every refusal looks like (RFC 9457). ``code`` is for programs and stable, ``detail`` for people."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: str
    detail: str = ""


def codes_of(route: Route, everywhere: Mapping[int, Sequence[str]] = NOWHERE) -> dict[int, list[str]]:
    """Every status of a problem that ``route`` can answer with, and the codes that come with it.

    ``everywhere``: as `Services.refusals`."""
    found: dict[int, list[str]] = {}

    def add(status: int, *codes: str) -> None:
        known = found.setdefault(status, [])
        known += [code for code in codes if code not in known]

    for status, codes in route.problems.items():
        add(status, *codes)
    if route.right is not None:
        add(401, "unauthorized")
        add(403, "forbidden")
    if route.method != "GET" or route.socket:
        add(403, "bad_origin")
    if route.path_types:
        add(404, "not_found")
    if route.query is not None:
        add(400, "bad_request")
        if "cursor" in route.query.__struct_fields__:
            add(400, "bad_cursor")
    if route.body is not None:
        add(408, "request_timeout")
        add(413, "payload_too_large")
        add(400, "bad_body")
        if route.body is not bytes:
            add(400, "bad_json")
            add(415, "unsupported_media_type")
            add(422, "bad_request")
    if route.idempotent:
        add(400, "idempotency_key_required")
        add(409, "idempotency_in_progress")
        add(422, "idempotency_mismatch")
    if route.rate is not None or route.visitors is not None:
        add(429, "rate_limited")
    for status, refusals in everywhere.items():
        if route.problems.get(status) != ():  # whose codes are not told: any may come
            add(status, *refusals)
    add(400, "bad_host")
    add(415, "unsupported_coding")
    add(417, "unknown_expectation")
    add(500, "server_error")
    add(503, "database_unavailable", "database_busy", "storage_full")
    return dict(sorted(found.items()))


def _types(route: Route) -> Iterator[Any]:
    yield from route.path_types.values()
    if route.query is not None:
        yield route.query
    if route.body not in (None, bytes):
        yield route.body
    if _is_data(route):
        yield route.result


def _is_data(route: Route) -> bool:
    """Whether the answer is JSON, rather than a file, a page or a socket."""
    result = route.result
    if route.content_type is not None or route.socket or result is None:
        return False
    return not (isinstance(result, type) and issubclass(result, web.StreamResponse))


def _problem(status: int, codes: Sequence[str]) -> Json:
    title = HTTPStatus(status).phrase
    schema: Json = {"$ref": _REF.format(name="ProblemBody")}
    if codes:
        schema = {"allOf": [schema, {"type": "object", "properties": {"code": {"type": "string", "enum": [*codes]}}}]}
        title += ": " + "; ".join(
            f"`{code}`" + (f" {SHARED_CODES[code]}" if code in SHARED_CODES else "") for code in codes
        )
    answer: Json = {"description": title, "content": {_PROBLEM: {"schema": schema}}}
    if status in (429, 503) or "idempotency_in_progress" in codes:
        answer["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return answer


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _success(route: Route, schema: Json | None) -> Json:
    answer: Json = {"description": HTTPStatus(route.status).phrase}
    headers: Json = {"X-Request-Id": _header("Names this request in our logs.")}
    if route.etag:
        headers["ETag"] = _header("Tag of the content, for If-None-Match.")
    if route.idempotent:
        headers[REPLAYED] = _header("`true` when this is the stored answer of an earlier request.")
    answer["headers"] = headers
    if route.content_type is not None:
        binary = not route.content_type.startswith("text/")
        answer["content"] = {route.content_type: {"schema": {} if binary else {"type": "string"}}}
    elif schema is not None:
        media: Json = {"schema": schema}
        if route.example is not None:
            media["example"] = msgspec.to_builtins(route.example)
        answer["content"] = {"application/json": media}
    return answer


def _query_parameters(schema: Json) -> Iterator[Json]:
    required = schema.get("required", ())
    for name, kind in schema.get("properties", {}).items():
        parameter: Json = {"name": name, "in": "query", "required": name in required, "schema": kind}
        if "description" in kind:
            parameter["description"] = kind["description"]
        yield parameter


def _operation(
    route: Route, schemas: Iterator[Json], components: Json, everywhere: Mapping[int, Sequence[str]]
) -> Json:
    parameters: list[Json] = []
    for name in route.path_types:
        parameters.append({"name": name, "in": "path", "required": True, "schema": next(schemas)})
    if route.query is not None:
        reference_to = next(schemas)["$ref"].rpartition("/")[2]
        parameters += _query_parameters(components[reference_to])
    if route.idempotent:
        key = {"type": "string", "minLength": SHORTEST, "maxLength": LONGEST, "pattern": "^[!-~]+$"}
        about = "New for every action, the same when it is tried again; kept for 72 hours."
        parameters.append({"name": HEADER, "in": "header", "required": True, "schema": key, "description": about})
    operation: Json = {
        "operationId": _operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "security": [{"bearer": []}, {"cookie": []}]
        if route.right is not None
        else [{}, {"bearer": []}, {"cookie": []}],
    }
    if route.description:
        operation["description"] = route.description
    if route.right is not None:
        operation["x-right"] = route.right
    if route.rate is not None:
        operation["x-rate"] = {"per_second": route.rate.per_s, "burst": route.rate.burst}
    if route.visitors is not None:
        operation["x-visitors-rate"] = {"per_second": route.visitors.per_s, "burst": route.visitors.burst}
    if parameters:
        operation["parameters"] = parameters
    if route.body is bytes:
        content: Json = {"*/*": {"schema": {}}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.body is not None:
        media: Json = {"schema": next(schemas)}
        if route.body_example is not None:
            media["example"] = msgspec.to_builtins(route.body_example)
        operation["requestBody"] = {"required": not route.body_optional, "content": {"application/json": media}}
    if route.socket:
        operation["x-websocket"] = True
        answers: Json = {"101": {"description": "The connection is a WebSocket now (RFC 6455)."}}
    else:
        answers = {str(route.status): _success(route, next(schemas) if _is_data(route) else None)}
    if route.etag:
        answers["304"] = {"description": "Not changed since the answer with that ETag."}
    for status, codes in codes_of(route, everywhere).items():
        answers[str(status)] = _problem(status, codes)
    operation["responses"] = answers
    return operation


def document(
    routes: Sequence[Route],
    title: str = "Wadud",
    version: str = "1",
    everywhere: Mapping[int, Sequence[str]] = NOWHERE,
) -> Json:
    """The OpenAPI 3.1 document of ``routes``. ``everywhere``: as `Services.refusals`.

    Raises:
        ValueError: an operation or its id stands there twice.
    """
    _refuse_doubles(routes)
    kinds = [kind for route in routes for kind in _types(route)]
    schemas, components = msgspec.json.schema_components([*kinds, ProblemBody], ref_template=_REF)
    _tell_years([schemas, components])
    each = iter(schemas)
    paths: Json = {}
    for route in routes:
        methods = paths.setdefault(_plain(route.path), {})
        methods[route.method.lower()] = _operation(route, each, components, everywhere)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Times are RFC 3339 in UTC, from 1800 to 2199, ids are UUIDs, money is in the smallest "
            "unit of its currency. "
            "A refusal is application/problem+json with a stable `code`.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in _once(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "wadud_session",
                    "description": "Set by signing in; a request that changes something needs our own Origin too.",
                },
            },
        },
    }


def _tell_years(schemas: object) -> None:
    """That times of another age are refused (`bounds.odd_time`), which msgspec does not know."""
    pending = [schemas]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if item.get("format") in ("date", "date-time"):
                item.setdefault("pattern", YEARS_PATTERN)
            pending += item.values()
        elif isinstance(item, list | tuple):
            pending += item


def _refuse_doubles(routes: Sequence[Route]) -> None:
    seen: set[str] = set()
    for route in routes:
        marks = {f"{route.method} {_plain(route.path)}", _operation_id(route)}
        if marks & seen:
            raise ValueError(f"{route.method} {route.path} ({_operation_id(route)}) is declared twice")
        seen |= marks


def _operation_id(route: Route) -> str:
    return f"{route.tag}_{route.name}"


def _plain(path: str) -> str:
    """The path with its parts as ``{name}``, without aiohttp's patterns."""
    return PATH_PART.sub(r"{\1}", path)


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def add_documentation(
    app: web.Application,
    routes: Sequence[Route],
    title: str,
    version: str,
    everywhere: Mapping[int, Sequence[str]] = NOWHERE,
) -> None:
    """Serve /openapi.json, /docs and the style sheet of the latter. ValueError as for `document`."""
    _refuse_doubles(routes)
    made: asyncio.Task[dict[str, tuple[bytes, str]]] | None = None

    def make() -> dict[str, tuple[bytes, str]]:
        described = document(routes, title, version, everywhere)
        contents = (msgspec.json.encode(described), reference.page(described).encode(), reference.STYLE.encode())
        return {path: (content, tag_of(content)) for path, content in zip(_KINDS, contents, strict=True)}

    async def serve(request: web.Request) -> web.Response:
        nonlocal made
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            made = asyncio.create_task(asyncio.to_thread(make))
        content, etag = (await asyncio.shield(made))[request.path]  # others wait for it too
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if matches(request, etag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, content_type=_KINDS[request.path], charset="utf-8", headers=headers)

    for path in _KINDS:
        app.router.add_get(path, serve)
