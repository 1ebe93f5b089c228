"""The description of the API: valid by the specification, complete, true of what is served, readable."""

import asyncio
from html.parser import HTMLParser
from typing import Any

import pytest
import schemathesis
from aiohttp.test_utils import TestServer
from aiohttp.web import WebSocketResponse
from hypothesis import HealthCheck, given, settings
from msgspec import Struct
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

import tests.support.formats  # noqa: F401 - registers itself
from backplane.api import Call, Page, Rate, Routes
from backplane.bounds import Count
from backplane.openapi import SHARED_CODES, codes_of, document
from backplane.reference import page
from tests.backplane.test_api import Search, routes
from tests.support.api import served, toy
from tests.support.printable import printable

orders = Routes(tag="orders")


class Order(Struct):
    amount: Count


@orders.post(
    "/orders",
    right="make",
    status=201,
    problems={409: ("slot_taken", "hold_expired"), 422: ("too_late",)},
    idempotent=True,
    rate=Rate(5, 10),
    example=Order(7),
)
async def order(call: Call, body: Order) -> Order:
    """Order `something`.

    It is <delivered>
    later.
    """
    return body


@orders.get("/orders")
async def listing(call: Call, query: Search) -> Page[Order]:
    return Page([])


@orders.socket("/orders/live/{id:[0-9]+}")
async def live(call: Call, id: Count) -> WebSocketResponse:
    raise NotImplementedError


ALL = [*routes.all, *orders.all]


def test_the_document_is_valid_openapi_31() -> None:
    OPENAPI_31_VALIDATOR.validate(document(ALL))


def test_every_reference_leads_somewhere() -> None:
    described = document(ALL)
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                found.append(node["$ref"].rpartition("/")[2])
            for part in node.values():
                walk(part)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    walk(described)
    assert {"ProblemBody", "Wish", "Seen", "Order"} <= set(found)
    assert set(found) <= set(described["components"]["schemas"])


def test_an_operation_tells_every_answer_with_its_codes() -> None:
    (route,) = (route for route in ALL if route.name == "order")
    assert codes_of(route) == {
        400: ["bad_body", "bad_json", "idempotency_key_required", "bad_host"],
        401: ["unauthorized"],
        403: ["forbidden", "bad_origin"],
        408: ["request_timeout"],
        409: ["slot_taken", "hold_expired", "idempotency_in_progress"],
        413: ["payload_too_large"],
        415: ["unsupported_media_type", "unsupported_coding"],
        417: ["unknown_expectation"],
        422: ["too_late", "bad_request", "idempotency_mismatch"],
        429: ["rate_limited"],
        500: ["server_error"],
        503: ["database_unavailable", "database_busy", "storage_full"],
    }
    operation = document(ALL)["paths"]["/orders"]["post"]
    assert operation["operationId"] == "orders_order"
    assert operation["x-right"] == "make"
    assert operation["summary"] == "Order `something`"
    assert operation["description"] == "It is <delivered> later."
    assert operation["responses"]["201"]["content"]["application/json"]["example"] == {"amount": 7}
    conflict = operation["responses"]["409"]["content"]["application/problem+json"]["schema"]
    assert conflict["allOf"][1]["properties"]["code"]["enum"] == [
        "slot_taken",
        "hold_expired",
        "idempotency_in_progress",
    ]
    assert "Retry-After" in operation["responses"]["409"]["headers"]
    (key,) = operation["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", True)


def test_all_shared_codes_have_a_meaning() -> None:
    declared = {code for route in ALL for codes in route.problems.values() for code in codes}
    assert {code for route in ALL for codes in codes_of(route).values() for code in codes} - declared <= set(
        SHARED_CODES
    )


def test_query_path_and_socket_are_described() -> None:
    paths = document(ALL)["paths"]
    parameters = {parameter["name"]: parameter for parameter in paths["/toys/{id}"]["get"]["parameters"]}
    assert parameters["id"]["schema"] == {"type": "string", "format": "uuid"}
    assert parameters["limit"]["schema"]["maximum"] == 100
    assert parameters["lang"]["schema"]["type"] == "array"
    live = paths["/orders/live/{id}"]["get"]
    assert live["x-websocket"] is True
    assert "101" in live["responses"]
    assert "text/calendar" in paths["/toys/{id}/card.ics"]["get"]["responses"]["200"]["content"]


def test_what_is_declared_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        document([*ALL, orders.all[0]])


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        for name, value in attrs:
            assert name != "style"
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fits_the_content_policy() -> None:
    text = page(document(ALL))
    parser = _Page()
    parser.feed(text)
    assert parser.open == []
    assert not parser.tags & {"script", "style", "img"}
    assert len(parser.ids) == len(set(parser.ids))
    inner = {link[1:] for link in parser.links if link.startswith("#")}
    assert inner <= set(parser.ids)
    assert {link for link in parser.links if not link.startswith("#")} == {"/docs.css", "/openapi.json"}
    assert "&lt;delivered&gt;" in text
    assert "slot_taken" in text


async def test_the_document_and_the_page_are_served_with_tags() -> None:
    async with served([routes, orders]) as client:
        for path, kind in [("/openapi.json", "application/json"), ("/docs", "text/html"), ("/docs.css", "text/css")]:
            first = await client.get(path)
            assert (first.status, first.content_type) == (200, kind)
            again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
            assert again.status == 304
        assert (await (await client.get("/openapi.json")).json())["openapi"] == "3.1.0"


def _fuzzable() -> Routes:
    """The toys without sockets and database."""
    fuzzed = Routes(tag="toys")
    fuzzed.all = [route for route in routes.all if not route.socket and route.rate is None]
    return fuzzed


async def test_what_is_served_is_what_is_described() -> None:
    """A small schemathesis pass: whatever it sends, status, media type and body are documented."""
    async with TestServer(toy([_fuzzable()])) as server:
        url = str(server.make_url("/openapi.json"))
        # JSON Schema cannot say that control characters are refused everywhere (backplane/lines.py)
        without_nul = schemathesis.Config.from_dict({"generation": {"allow-x00": False}})
        schema = await asyncio.to_thread(schemathesis.openapi.from_url, url, config=without_nul)
        tried: set[str] = set()

        def run() -> None:
            for result in schema.get_all_operations():
                operation = result.ok()
                strategy = operation.as_strategy().map(printable)

                @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
                @given(strategy)
                def attempt(case: schemathesis.Case) -> None:
                    tried.add(case.operation.label)
                    case.call_and_validate(headers={"Authorization": "Bearer amina"})

                attempt()

        await asyncio.to_thread(run)
        assert len(tried) == len(_fuzzable().all)
