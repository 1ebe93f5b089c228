"""What booking asks of the calls, sent to every server process: the one that has the room obeys, all remember.

Commands travel on a topic and may be lost with the bus; then a token that is not renewed ends the call within minutes,
and each process asks booking now and then whether the people in its rooms may still be there (`call_events`).
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from backplane.bus import Bus

TOPIC: Final = "visit-rooms"


class PutOut(Struct, frozen=True, tag="put_out"):
    """End this person's call, and refuse the tokens that were signed for them until now."""

    room: str
    identity: str


class RevokeRoom(Struct, frozen=True, tag="revoke_room"):
    """Everybody out, and refuse the room's tokens that were signed until now."""

    room: str


class Renew(Struct, frozen=True, tag="renew"):
    """This person's call may go on until then."""

    room: str
    identity: str
    until: datetime


RoomCommand = PutOut | RevokeRoom | Renew
_decoder: Final[msgspec.json.Decoder[RoomCommand]] = msgspec.json.Decoder(RoomCommand)


class RoomCommands:
    """The `Rooms` of booking over the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def put_out(self, room: str, identity: str) -> None:
        await self._send(PutOut(room, identity))

    async def revoke_room(self, room: str) -> None:
        await self._send(RevokeRoom(room))

    async def renew(self, room: str, identity: str, until: datetime) -> None:
        await self._send(Renew(room, identity, until))

    async def _send(self, command: RoomCommand) -> None:
        await self._bus.publish(TOPIC, msgspec.json.encode(command))


def read(message: bytes) -> RoomCommand | None:
    """None for what is no command of ours."""
    try:
        return _decoder.decode(message)
    except msgspec.MsgspecError:
        return None
