"""What a domain refuses and what a database cannot do, as HTTP tells it."""

import pytest

from backplane.postgres import DatabaseBusy, DatabaseUnavailable
from backplane.problems import expected
from backplane.refusals import Kind, Refusal


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_refusal_has_a_status(kind: Kind) -> None:
    family = type("Refused", (Refusal,), {"kind": kind})
    problem = expected(family("why", "What to do.", facts={"left": 2}, retry_after_s=3))
    assert problem is not None
    assert 400 <= problem.status < 600
    assert (problem.code, problem.detail, problem.members) == ("why", "What to do.", {"left": 2})
    assert problem.headers == {"Retry-After": "3"}


@pytest.mark.parametrize("error", [DatabaseUnavailable(), DatabaseBusy()])
def test_a_database_that_cannot_now_is_503(error: Exception) -> None:
    problem = expected(error)
    assert problem is not None
    assert (problem.status, problem.headers) == (503, {"Retry-After": "2"})


def test_what_nobody_foresaw_is_no_answer() -> None:
    assert expected(ValueError("ours")) is None
