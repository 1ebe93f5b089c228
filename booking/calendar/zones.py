"""From the wall clock of a place to instants, by the zone data of the tzdata package.

The package and not the machine decides, so that all processes of one release agree and a change of the rules of a
country arrives by an upgrade, which `moved` answers. A wall-clock time may not exist (clocks go forward over it) or
exist twice (clocks go back). PEP 495 tells the two apart: in a gap the offset of fold 0 is smaller than that of fold 1,
in an overlap greater.

`opening` is the first instant whose wall clock reads the time or later; `closing` is the end of the last instant whose
wall clock reads earlier. So an edge in a gap moves to the end of the gap, and hours that hold an overlap are longer.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

# The release of the data, such as '2026b'.
with resources.files("tzdata").joinpath("zoneinfo", "tzdata.zi").open() as _file:
    VERSION: Final = _file.readline().split()[-1]
_SECOND: Final = timedelta(seconds=1)


class UnknownZone(ValueError):
    """There is no such zone in the data."""


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """All IANA names, links included."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises:
        UnknownZone: there is none.
    """
    if name not in names():
        raise UnknownZone(f"there is no time zone {name[:64]!r}")
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def exists(wall: datetime, place: ZoneInfo) -> bool:
    """Whether the clocks of ``place`` ever show ``wall`` (naive)."""
    before, after = _offsets(wall, place)
    return before >= after


def opening(wall: datetime, place: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the clocks of ``place`` show ``wall`` (naive) or later."""
    before, after = _offsets(wall, place)
    if before < after:
        return _end_of_gap(wall, place, before, after)
    return (wall - before).replace(tzinfo=UTC)


def closing(wall: datetime, place: ZoneInfo) -> datetime:
    """The instant (UTC) after the last one at which the clocks of ``place`` show less than ``wall`` (naive)."""
    last = wall - _SECOND
    before, after = _offsets(last, place)
    if before < after:
        return _end_of_gap(last, place, before, after)
    return (wall - after).replace(tzinfo=UTC)


def local_text(at: datetime, name: str) -> str:
    """What the wall clock shows, as it is agreed with people: ``YYYY-MM-DD HH:MM``."""
    return at.astimezone(zone(name)).strftime("%Y-%m-%d %H:%M")


def moved(at: datetime, name: str, agreed: str) -> str | None:
    """What the clock shows at ``at`` now, if that is not what was ``agreed`` (`local_text` of then)."""
    shown = local_text(at, name)
    return None if shown == agreed else shown


def _offsets(wall: datetime, place: ZoneInfo) -> tuple[timedelta, timedelta]:
    before = wall.replace(tzinfo=place, fold=0).utcoffset()
    after = wall.replace(tzinfo=place, fold=1).utcoffset()
    assert before is not None
    assert after is not None
    return before, after


def _end_of_gap(wall: datetime, place: ZoneInfo, before: timedelta, after: timedelta) -> datetime:
    """The change of offset lies between the two readings of ``wall``; bisect for its second."""
    early = (wall - after).replace(tzinfo=UTC)
    late = (wall - before).replace(tzinfo=UTC)
    while late - early > _SECOND:
        middle = early + timedelta(seconds=(late - early) // _SECOND // 2)
        if middle.astimezone(place).utcoffset() == after:
            late = middle
        else:
            early = middle
    return late
