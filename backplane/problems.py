"""Answers other than what was asked for: ``application/problem+json`` (RFC 9457), whose ``code`` is for programs."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web


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
