"""The signalling world, for what stands on it here."""

from tests.signalling.conftest import world as world
