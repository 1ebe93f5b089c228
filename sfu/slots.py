"""Which tracks fill a participant's slots. Pure functions: holders, candidates and ``now`` in, holders out.

The rule above all: a track never moves to another slot, and nobody loses a slot unless somebody else needs it. Audio
slots follow the loudest speakers once there are more tracks than slots; video slots go to screens, then to whom the
participant prefers, then to active speakers, then by order of joining. A voice whose sender tells no levels cannot show
that it speaks: it comes behind those who do and before those who are silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

AUDIO_HOLD_S = 1.0  # a silent speaker keeps the slot this long
VIDEO_HOLD_S = 3.0
ACTIVE_S = 0.3  # speech this recent is going on
OVERTAKE_MARGIN = 0.15  # how much louder a speaker must be to take the slot of one who still speaks ...
OVERTAKE_AFTER_S = 1.0  # ... and has held it this long


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A track that could fill a slot. Each is itself alone: large rooms are searched for them."""

    track: str
    participant: str
    joined: int  # order of joining, then of publishing
    screen: bool = False
    muted: bool = False
    speaking: bool = False
    level: float = 0.0  # 0..1
    spoke_at: float = float("-inf")  # when speech was last heard
    unmetered: bool = False  # a voice of unknown loudness: its sender tells no levels

    def active(self, now: float) -> bool:
        """Speaking, and not just fading out."""
        return self.speaking and now - self.spoke_at < ACTIVE_S

    @property
    def may_be_speaking(self) -> bool:
        """Nothing tells that it is silent."""
        return self.unmetered and not self.muted


@dataclass(frozen=True, slots=True)
class Holder:
    track: str
    since: float


def assign_audio(holders: Sequence[Holder | None], candidates: Sequence[Candidate], now: float) -> list[Holder | None]:
    """The audio slots' next holders. `candidates`: audio tracks of the others."""
    by_track = {candidate.track: candidate for candidate in candidates}
    held = {holder.track: holder.since for holder in holders if holder is not None and holder.track in by_track}
    if len(candidates) <= len(holders):
        wanted = sorted(candidates, key=lambda c: c.joined)
    else:
        wanted = _fill([by_track[track] for track in held], candidates, len(holders))
        waiting = sorted((c for c in candidates if c.active(now) and c not in wanted), key=lambda c: -c.level)
        for challenger in waiting:
            victim = _audio_victim(challenger, wanted, held, now)
            if victim is None:
                break  # the next ones are quieter
            wanted[wanted.index(victim)] = challenger
        for challenger in (c for c in candidates if c.may_be_speaking and c not in wanted):
            silent = [c for c in wanted if now - c.spoke_at >= AUDIO_HOLD_S and not c.may_be_speaking]
            if not silent:
                break
            wanted[wanted.index(_least(silent))] = challenger
    return _place(holders, wanted, now)


def _audio_victim(
    challenger: Candidate, wanted: Sequence[Candidate], held: dict[str, float], now: float
) -> Candidate | None:
    silent = [c for c in wanted if now - c.spoke_at >= AUDIO_HOLD_S]
    if silent:
        return _least(silent)
    quieter = [
        c
        for c in wanted
        if c.active(now)
        and c.level + OVERTAKE_MARGIN < challenger.level
        and now - held.get(c.track, now) >= OVERTAKE_AFTER_S
    ]
    return min(quieter, key=lambda c: c.level) if quieter else None


def assign_video(
    holders: Sequence[Holder | None], candidates: Sequence[Candidate], prefer: Sequence[str], now: float
) -> list[Holder | None]:
    """The video slots' next holders. `prefer`: participant ids, best first."""
    count = len(holders)
    by_track = {candidate.track: candidate for candidate in candidates}
    if len(candidates) <= count:
        return _place(holders, sorted(candidates, key=lambda c: c.joined), now)
    rank = {participant: index for index, participant in reversed(list(enumerate(prefer)))}
    screens = sorted((c for c in candidates if c.screen and not c.muted), key=lambda c: c.joined)
    preferred = sorted(
        (c for c in candidates if c.participant in rank and not c.muted and not c.screen),
        key=lambda c: (rank[c.participant], c.joined),
    )
    first = [*screens, *preferred][:count]
    taken = set(first)
    others = [c for c in candidates if c not in taken]
    holding = [by_track[holder.track] for holder in holders if holder is not None and holder.track in by_track]
    holding = [c for c in holding if c not in taken]
    room = count - len(first)
    while len(holding) > room:
        holding.remove(_least(holding))
    wanted = _fill(holding, others, room)
    chosen = set(wanted)
    waiting = sorted((c for c in others if not c.muted and c not in chosen), key=lambda c: (-c.level, c.joined))
    muted = sum(c.muted for c in wanted)
    for challenger in waiting:
        idle: list[Candidate] = []
        if muted:
            idle = [c for c in wanted if c.muted]
            muted -= 1
        elif challenger.active(now):
            idle = [c for c in wanted if now - c.spoke_at >= VIDEO_HOLD_S]
            if not idle:
                break
        if idle:
            wanted[wanted.index(_least(idle))] = challenger
    return _place(holders, [*first, *wanted], now)


def _least(candidates: Sequence[Candidate]) -> Candidate:
    """Who is missed least: muted, else known to be silent, for longest, else the last to join."""
    return min(candidates, key=lambda c: (not c.muted, c.speaking, c.unmetered, c.spoke_at, -c.joined))


def _fill(holding: Sequence[Candidate], candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """`holding` and, in what is free of `count`, the best of the rest."""
    held = set(holding)
    rest = sorted(
        (c for c in candidates if c not in held),
        key=lambda c: (
            *(c.muted, not c.speaking, not c.unmetered),
            *(-c.level if c.speaking else 0.0, -c.spoke_at, c.joined),
        ),
    )
    return [*holding, *rest][: max(count, len(holding))]


def _place(holders: Sequence[Holder | None], wanted: Sequence[Candidate], now: float) -> list[Holder | None]:
    """Gives each of `wanted` a slot; who has one stays in it."""
    names = {candidate.track for candidate in wanted}
    result: list[Holder | None] = [
        holder if holder is not None and holder.track in names else None for holder in holders
    ]
    placed = {holder.track for holder in result if holder is not None}
    arriving = [candidate.track for candidate in wanted if candidate.track not in placed]
    # an empty slot first: taking the place of somebody at once costs the receiver a visible change in a known tile
    free = sorted(
        (index for index, holder in enumerate(result) if holder is None), key=lambda i: holders[i] is not None
    )
    for index, track in zip(free, arriving):
        result[index] = Holder(track, now)
    return result
