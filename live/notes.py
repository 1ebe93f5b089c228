"""The word that something has changed, from whoever changed it to every process that shows it to somebody.

A note names a subject (a provider, an instant request, a conversation) and nothing more: whoever shows it reads the
database anew. So notes may be lost, doubled or late without harm, and carry nothing of anybody. They are sent after the
commit.
"""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from backplane.api import Call
from backplane.bus import Bus

TOPIC: Final = "live"


class Note(Struct, frozen=True, array_like=True):
    """`subject`: as in the tickets of those who watch it."""

    tenant: int
    subject: UUID


async def note(bus: Bus, tenant: int, *subjects: UUID) -> None:
    """Tell that these have changed."""
    await bus.publish(TOPIC, *(msgspec.json.encode(Note(tenant, subject)) for subject in subjects))


def note_after(call: Call, *subjects: UUID) -> None:
    """As `note`, when the call has committed."""

    async def send() -> None:
        await note(call.bus, call.tenant.id, *subjects)

    call.after_commit(send)


def read(message: bytes) -> Note | None:
    """None for what is no note of ours."""
    try:
        return msgspec.json.decode(message, type=Note)
    except msgspec.MsgspecError:
        return None
