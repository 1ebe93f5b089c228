"""One room: who is in it, what they send, and who sees whom in which slot.

Sans-IO: every method takes ``now`` (seconds, monotonic), commands go to a `MediaPlane`, pushes leave through `notify`.
A method that raises `RoomError` has changed nothing.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from sfu.protocol import DeclaredTrack, Joined, Message, Right

Notify: TypeAlias = Callable[[str, Message], None]


class Room:
    """Made by `Node.room`; gone (`Node.find` gives None) once its last participant has left."""

    name: str
    notify: Notify
    """Called once per receiver with (participant id, message in protocol form without ``seq``). Ids are unique in the
    process. Never called for the joiner from inside `join`. ``bye`` messages mean: the participant is out already,
    deliver it and close the session."""

    def join(
        self,
        identity: str,
        name: str,
        role: str,
        rights: Collection[Right],
        offer_sdp: str,
        tracks: Sequence[DeclaredTrack],
        now: float,
    ) -> Joined:
        """Lets a person in. One who is in already with the same `identity` is put out with ``bye``/"replaced".

        RoomError: room_full, bad_sdp, no_codec, forbidden (publishing without the right), unknown_mid (a declared track
        has no sending m-line), bad_message.
        """
        raise NotImplementedError

    def offer(
        self, participant_id: str, sdp: str, tracks: Sequence[DeclaredTrack], now: float
    ) -> tuple[str, list[Message]]:
        """Renegotiation: (answer, slots). `tracks` declares new sending m-lines and may repeat known ones (their
        `muted` is then taken over).

        An ICE restart is recognised by its new credentials. RoomError as `join`, and unknown_participant.
        """
        raise NotImplementedError

    def mute(self, participant_id: str, mid: str, muted: bool, now: float) -> None:
        """RoomError: unknown_participant, unknown_mid."""

    def prefer(self, participant_id: str, participants: Sequence[str], now: float) -> None:
        """Who should have this participant's video slots, best first; unknown ids are ignored. RoomError:
        unknown_participant."""

    def remove(self, participant_id: str, target: str, now: float) -> None:
        """`participant_id` puts `target` out (``bye``/"removed"). RoomError: forbidden, unknown_participant."""

    def expel(self, participant_id: str, reason: str, now: float) -> None:
        """The server puts somebody out with ``bye`` and that reason (token_expired, revoked, draining). Unknown ids are
        ignored."""

    def leave(self, participant_id: str, reason: str, now: float) -> None:
        """Takes a participant out (own wish, resume window over); no ``bye``. Unknown ids are ignored."""

    def close(self, reason: str, now: float) -> None:
        """Everybody out with ``bye``."""

    def signalling_lost(self, participant_id: str, now: float) -> None:
        """Others see "reconnecting"; media goes on. Unknown ids are ignored."""

    def signalling_regained(self, participant_id: str, now: float) -> None: ...

    def participants_for(self, participant_id: str) -> list[Message]:
        """Participant objects of all others, for ``resumed``. RoomError: unknown_participant."""
        raise NotImplementedError

    def slots_for(self, participant_id: str) -> list[Message]:
        """Slot objects, for ``resumed``. RoomError: unknown_participant."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Speakers, slots and quality; wants to be called every 100 ms (`Node.tick` does)."""
