"""Schemathesis over the OpenAPI document, as everybody: no fault of ours, no answer that is not documented.

What it sends is made from the schemas, good and bad alike, most of it with ids that exist; every request is sent once
by a stranger and once by somebody of each role. A few examples of each operation by default;
``WADUD_SCHEMA_EXAMPLES=100 bin/test tests/booking/proofs/test_schema.py`` is the long way.
"""

import asyncio
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import tests.support.formats  # noqa: F401 - registers itself
from tests.booking.proofs.samples import Sampler, operations
from tests.booking.proofs.world import ROLES, STRANGER, World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(7200)]

LONGEST_QUERY = 2000  # characters; past 8190 bytes it is no HTTP request to aiohttp, which refuses it in its own words
EXAMPLES = int(os.environ.get("WADUD_SCHEMA_EXAMPLES", "1"))
# Enough for every day; the long way goes as everybody.
QUICK = ("patient", "doctor", "staff", "clinic_admin", "platform_admin")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def look_at_problem(response: Any) -> None:
    """Every refusal is a problem that says what to do."""
    if response.status_code >= 400:
        assert response.headers["content-type"][0].startswith("application/problem+json"), response.content[:200]
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["code"], problem
        assert len(problem.get("detail", "")) > 10, problem


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Keeps connections open and nothing else: no cookie of one role goes out with the next."""
    with requests.Session() as session:
        session.trust_env = False  # to look for proxies takes longer than to ask
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield session


@dataclass
class Tour:
    """One operation asked by everybody, in a thread, while the loop of the test serves. ``existing``: ids for the path;
    ``headers``: by role; ``failures``: role and what was wrong, one of a kind."""

    session: requests.Session
    url: str
    operation: Any
    existing: Mapping[str, str]
    headers: Mapping[str, dict[str, str]]
    failures: dict[str, str]

    def make(self, mode: GenerationMode, number: int) -> None:
        chance = random.Random(number)

        @seed(number)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=self.operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            if self.existing and chance.random() < 0.7:
                case.path_parameters.update(self.existing)
            if len(str(case.as_transport_kwargs(base_url=self.url).get("params"))) > LONGEST_QUERY:
                return
            for role in self.headers:
                self._ask(case, role)

        try:
            ask()
        except Unsatisfiable:
            return  # nothing can be wrong with a request without parameters

    def _ask(self, case: Case, role: str) -> None:
        name = f"{self.operation.method.upper()} {self.operation.path} as {role}"
        response = case.call(base_url=self.url, session=self.session, headers=self.headers[role], allow_redirects=False)
        seen = f"{response.status_code} {response.content[:300]!r}"
        try:
            case.validate_response(response, checks=CHECKS, headers=self.headers[role])
            look_at_problem(response)
        except BaseExceptionGroup as group:
            for error in group.exceptions:
                self.failures.setdefault(str(error), f"{name}: {seen}")
        except (AssertionError, Failure) as error:
            self.failures.setdefault(str(error), f"{name}: {seen}")


async def test_no_answer_surprises_the_document(served_world: World, session: requests.Session) -> None:
    world, document = served_world, await served_world.document()
    schema = schemathesis.openapi.from_dict(document)
    declared = {operation.name: operation for operation in operations(document)}
    sampler = Sampler(document, {**world.a.rows.ids, "tenant": world.a.tenant})
    failures: dict[str, str] = {}
    for number, made in enumerate(schema.get_all_operations()):
        operation = made.ok()
        name = f"{operation.method.upper()} {operation.path}"
        if name not in declared:
            continue  # a socket
        world.clock.turn(minutes=1)  # whose rates are used up recover
        headers = {STRANGER: {"Host": world.a.host}}
        for role in QUICK if EXAMPLES <= 2 else ROLES:
            who = world.person(role)
            headers[role] = {"Host": who.host, "Authorization": f"Bearer {await world.token(who)}"}
        tour = Tour(session, world.url, operation, sampler.path_ids(declared[name]), headers, failures)
        for mode in GenerationMode:
            await asyncio.to_thread(tour.make, mode, number)
    assert not failures, "\n\n".join(f"{where}\n{error}" for error, where in failures.items())


async def test_what_no_route_answers_says_what_to_do(served_world: World) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing-here", 404),
        ("POST", "/", 404),
        ("PATCH", "/v1/holds", 405),
        ("OPTIONS", "/v1/holds", 405),
    ):
        answer = await served_world.ask(method, path)
        assert answer.status == status
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert len(answer.body["detail"]) > 10


async def test_a_host_of_no_clinic_is_told_so_everywhere(served_world: World) -> None:
    answer = await served_world.ask("GET", "/v1/tenant", host="nobody.localhost")
    assert (answer.status, answer.code) == (404, "unknown_clinic")
