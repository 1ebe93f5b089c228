"""The small internet that the tests with real sockets and browsers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.network.internet import Internet, internet
from tests.support.namespaces import unavailable


@pytest.fixture(scope="session")
def world() -> Iterator[Internet]:
    """Skips what needs it where namespaces cannot be made."""
    if why_not := unavailable():
        pytest.skip(why_not)
    with internet() as made:
        yield made
