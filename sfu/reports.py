"""What a room tells again and again: who speaks, and how good everybody's connection is. Only what has changed is told,
and not more often than a page can show it."""

import math
from collections.abc import Iterable, Sequence

from sfu.events import Quality, QualityReport, Speaker, SpeakersChanged
from sfu.participant import Participant
from sfu.quality import score

SPEAKERS_INTERVAL_S = 0.25  # at least, so that ticks of 300 ms tell each time
QUALITY_INTERVAL_S = 2.0


class SpeakersReport:
    """``loudest``: as `sfu.speakers.Speakers.loudest` gives it."""

    def __init__(self) -> None:
        self._due = 0.0
        self._heard: Sequence[tuple[str, float]] | None = []
        self._told: list[Speaker] | None = []
        """None: to be told in any case, because somebody has come who was not told."""

    def somebody_came(self) -> None:
        if self._told:  # not [], which would say that the others know already when these fall silent
            self._heard = self._told = None

    def take(
        self, loudest: Sequence[tuple[str, float]], people: Iterable[Participant], now: float
    ) -> SpeakersChanged | None:
        """What is to be told now."""
        if loudest == self._heard or now < self._due:
            return None
        self._due = now + SPEAKERS_INTERVAL_S
        self._heard = loudest
        owners = {track.id: person.id for person in people for track in person.tracks.values()}
        levels: dict[str, float] = {}
        for track, level in loudest:
            levels.setdefault(owners[track], round(level, 2))
        speakers = [Speaker(id, level) for id, level in levels.items()]
        if speakers == self._told:
            return None
        self._told = speakers
        return SpeakersChanged(speakers)

    def due(self, loudest: Sequence[tuple[str, float]]) -> float:
        """From when `take` has something to tell; inf for not before something changes."""
        return math.inf if loudest == self._heard else self._due


class QualityReports:
    def __init__(self) -> None:
        self._due = 0.0
        self._stale = False
        self._told: list[Quality] = []

    def somebody_came(self) -> None:
        self._told = []
        self._stale = True

    def changed(self) -> None:
        """A path has, or who is in."""
        self._stale = True

    def take(self, people: Iterable[Participant], now: float) -> QualityReport | None:
        """What is to be told now."""
        if not self._stale or now < self._due:
            return None
        self._due = now + QUALITY_INTERVAL_S
        self._stale = False
        entries = [
            Quality(
                person.id,
                float(score(person.path)),
                rtt_ms=10.0 * round(person.path.rtt_ms / 10),  # coarse: only what one would notice is a change
                loss_percent=float(round(person.path.loss_percent)),
            )
            for person in people
            if person.path is not None
        ]
        if entries == self._told:
            return None
        self._told = entries
        return QualityReport(entries)

    def due(self) -> float:
        """From when `take` has something to tell; inf for not before something changes."""
        return self._due if self._stale else math.inf
