"""Answers other than what was asked for: ``application/problem+json`` (RFC 9457), whose ``code`` is for programs.

Here alone refusals of a domain and errors of the database get their status.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from backplane.postgres import DatabaseBusy, DatabaseFull, DatabaseUnavailable
from backplane.refusals import Kind, Refusal


class Problem(Exception):
    """An answer other than what was asked for (RFC 9457). ``code`` is stable, ``detail`` is for people.

    ``members``: further members of the body for programs (RFC 9457 section 3.2), such as other slots that are free.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def problem_response(problem: Problem) -> web.Response:
    body: dict[str, object] = {
        **problem.members,
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
    }
    if problem.detail:
        body["detail"] = problem.detail
    headers = {"Cache-Control": "no-store", **problem.headers}
    return web.Response(
        body=msgspec.json.encode(body), status=problem.status, content_type="application/problem+json", headers=headers
    )


def json_response(value: object, status: int = 200) -> web.Response:
    """``value`` as JSON that nobody may store."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


_STATUS: Final[Mapping[Kind, int]] = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.INVALID: 422,
    Kind.TOO_MANY: 429,
    Kind.FAILED: 500,
    Kind.UPSTREAM_FAILED: 502,
    Kind.UNAVAILABLE: 503,
}


_DATABASE_RETRY_AFTER_S: Final = 2


def expected(error: BaseException) -> Problem | None:
    """The answer to what may be raised in the middle of any handler; None: it is nothing of the kind.

    A full disk has an answer of its own (`backplane.storage`).
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refusal):
        wait = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return Problem(_STATUS[error.kind], error.code, error.detail, wait, error.facts)
    wait = {"Retry-After": str(_DATABASE_RETRY_AFTER_S)}
    if isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseFull):
        detail = "The database cannot be reached just now. Try again in a few seconds."
        return Problem(503, "database_unavailable", detail, wait)
    if isinstance(error, DatabaseBusy):
        detail = "The database is too busy just now; nothing was changed. Try again in a few seconds."
        return Problem(503, "database_busy", detail, wait)
    return None
