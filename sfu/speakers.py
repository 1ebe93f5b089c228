"""Who speaks, and how loud: audio levels (RFC 6464) smoothed over time, not over packets.

The worker says a level when it changes, every two seconds while it stays, and once when silence begins (a sender in
discontinuous transmission sends no packets). A level that is not renewed within `HOLD_S` counts as silence all the
same. Between speaking and silent lies a hysteresis. The V bit of the extension is believed from those who have ever set
it: their loudness without voice (a keyboard, a fan) counts half.
"""

import math
from dataclasses import dataclass

FLOOR_DBOV = 70  # -70 dBov and below is 0.0
TOP_DBOV = 10  # -10 dBov and above is 1.0
EVENT_S = 0.1  # the span that one level event speaks for
HOLD_S = 2.4
RISE_S = 0.1
FALL_S = 0.4
SETTLED = 0.002  # so near, it is there
SPEAKING_FROM = 0.25
SILENT_BELOW = 0.12


@dataclass(slots=True)
class _Voice:
    value: float = 0.0
    target: float = 0.0
    at: float = -math.inf  # when value was true
    heard_at: float = -math.inf  # last event
    voice_known: bool = False
    speaking: bool = False
    spoke_at: float = -math.inf
    muted: bool = False


def loudness(level_dbov: int) -> float:
    """0..1 of an RFC 6464 level (0..127, in -dBov)."""
    return min(1.0, max(0.0, (FLOOR_DBOV - level_dbov) / (FLOOR_DBOV - TOP_DBOV)))


def _follow(value: float, target: float, seconds: float) -> float:
    if abs(value - target) < SETTLED:
        return target
    constant = RISE_S if target > value else FALL_S
    return target + (value - target) * math.exp(-max(0.0, seconds) / constant)


def _talks(state: _Voice) -> bool:
    """It is not only the fading of what was said."""
    return state.speaking and state.target >= SILENT_BELOW


class Speakers:
    """Levels of a room's audio tracks by track id. ``now`` is in seconds and never goes back."""

    def __init__(self) -> None:
        self.wakes_at = -math.inf
        """From when `advance` has something to do, inf for never; anything that happens sets it back."""
        self._voices: dict[str, _Voice] = {}

    def add(self, track: str, *, muted: bool = False) -> None:
        self._voices[track] = _Voice(muted=muted)
        self.wakes_at = -math.inf

    def remove(self, track: str) -> None:
        self._voices.pop(track, None)

    def mute(self, track: str, muted: bool) -> None:
        """A muted track is silent at once, whatever still arrives."""
        voice = self._voices.get(track)
        if voice is not None and voice.muted != muted:
            self._voices[track] = _Voice(muted=muted, voice_known=voice.voice_known)
            self.wakes_at = -math.inf

    def observe(self, track: str, level_dbov: int, voice: bool, now: float) -> bool:
        """A level event of the last 100 ms. True when the track has begun to speak by it."""
        state = self._voices.get(track)
        if state is None or state.muted:
            return False
        state.voice_known = state.voice_known or voice
        heard = loudness(level_dbov)
        if state.voice_known and not voice:
            heard /= 2
        if state.value == state.target == heard and now <= state.heard_at + HOLD_S:  # as before, and settled
            state.heard_at = max(state.heard_at, now)
            return False
        since = max(state.at, now - EVENT_S)
        if _talks(state):
            state.spoke_at = min(since, state.heard_at + HOLD_S)
        self._advance(state, since)
        state.value = _follow(state.value, heard, now - max(state.at, now - EVENT_S))
        state.target, state.at, state.heard_at = heard, now, now
        was_speaking = state.speaking
        self._judge(state)
        if _talks(state):
            state.spoke_at = now
        self.wakes_at = -math.inf
        return state.speaking and not was_speaking

    def advance(self, now: float) -> bool:
        """Lets time pass for all. True when somebody began or ceased to speak."""
        changed, wakes_at = False, math.inf
        for state in self._voices.values():
            was_speaking = state.speaking
            goal = state.target if now <= state.heard_at + HOLD_S else 0.0
            if state.value != goal:
                self._advance(state, now)
                self._judge(state)
            changed = changed or state.speaking != was_speaking
            if state.value != goal:
                wakes_at = now
            elif goal:
                wakes_at = min(wakes_at, state.heard_at + HOLD_S)
        self.wakes_at = wakes_at
        return changed

    def _advance(self, state: _Voice, now: float) -> None:
        if state.at == -math.inf or now <= state.at:
            return
        held_until = min(now, state.heard_at + HOLD_S)
        if held_until > state.at:
            state.value = _follow(state.value, state.target, held_until - state.at)
            state.at = held_until
        if now > held_until:
            if _talks(state):
                state.spoke_at = state.heard_at + HOLD_S
            state.value = _follow(state.value, 0.0, now - state.at)
            state.at = now

    def _judge(self, state: _Voice) -> None:
        if state.value >= SPEAKING_FROM:
            state.speaking = True
        elif state.value < SILENT_BELOW:
            state.speaking = False

    def level(self, track: str) -> float:
        """0..1, as of the last `advance` or `observe`."""
        state = self._voices.get(track)
        return state.value if state is not None else 0.0

    def speaking(self, track: str) -> bool:
        state = self._voices.get(track)
        return state is not None and state.speaking

    def spoke_at(self, track: str, now: float) -> float:
        """When its speech was last heard, before any fading; -inf for never."""
        state = self._voices.get(track)
        if state is None:
            return -math.inf
        return min(now, state.heard_at + HOLD_S) if _talks(state) else state.spoke_at

    def loudest(self) -> list[tuple[str, float]]:
        """(track, level) of those who speak, the loudest first."""
        found = [(track, state.value) for track, state in self._voices.items() if state.speaking]
        return sorted(found, key=lambda item: -item[1])
