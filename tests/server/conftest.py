"""A signalling world for each test, with its own revocations."""

from pathlib import Path

import pytest

from backplane.tokens import Revocations
from tests.signalling.fakes import WALL, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Revocations(tmp_path / "revoked.jsonl", WALL))
