"""What comes from outside fits what it is kept in: found out from the types, before anybody sends anything.

Postgres refuses a number beyond its column and Python one beyond its calendar, in the middle of a transaction, as a
fault of ours. So every type that is decoded from outside (bodies, parameters, cursors, WebSocket messages) goes through
`check_type`, which a test or the start of the program runs into, not a stranger: integers and floats have bounds, by
default those of an int4, and a date and time has a time zone. msgspec cannot bound dates and times, so values of types
that hold some (`holds_times`) go through `refuse_odd_times`.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec import inspect as kinds

INT4_MAX: Final = 2**31 - 1
INT8_MAX: Final = 2**63 - 1
WIDE: Final = {"column": "int8"}
"""``Meta(extra=WIDE)``: this integer is kept in an int8, or in no column at all."""

Int4 = Annotated[int, Meta(ge=-INT4_MAX - 1, le=INT4_MAX)]
Count = Annotated[int, Meta(ge=0, le=INT4_MAX)]
Moment = Annotated[datetime, Meta(tz=True)]
Int8 = Annotated[int, Meta(ge=-INT8_MAX - 1, le=INT8_MAX, extra=WIDE)]

# Nobody alive was born before, and no calendar of ours goes on so long. Far enough from the ends of Python's calendar
# that a time zone or a length of days may be added.
EARLIEST: Final = datetime(1800, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
YEARS_PATTERN: Final = "^(1[89]|20|21)[0-9]{2}-"  # the same, for a text


def check_type(kind: object) -> None:
    """TypeError when a value of this type need not fit what it is kept in; the message says where."""
    found = list(_unbounded(kinds.type_info(kind), "$", set()))
    if found:
        raise TypeError("; ".join(found))


# Any: a union of structs is no type to the type checker
def outside_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Of JSON from outside; as `check_type`."""
    return _decoder(kind)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    check_type(kind)
    return msgspec.json.Decoder(kind)


def holds_times(kind: object) -> bool:
    """Whether a value of this type may hold a date, or a date and time."""
    return _holds_times(kinds.type_info(kind), set())


def odd_time(value: object) -> bool:
    """Whether ``value`` holds a date or time that is not between `EARLIEST` and `LATEST`."""
    pending = [msgspec.to_builtins(value, builtin_types=(datetime, date))]
    while pending:
        item = pending.pop()
        if isinstance(item, date):  # a datetime is one
            if not EARLIEST.year <= item.year < LATEST.year:
                return True
        elif isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            pending += item
    return False


def _parts(kind: kinds.Type) -> Iterator[tuple[str, kinds.Type]]:
    match kind:
        case kinds.Metadata(type=inner):
            yield "", inner
        case kinds.UnionType(types=types):
            for each in types:
                yield "", each
        case kinds.StructType(fields=fields) | kinds.TypedDictType(fields=fields) | kinds.NamedTupleType(fields=fields):
            for field in fields:
                yield f".{field.encode_name}", field.type
        case kinds.DataclassType(fields=fields):
            for field in fields:
                yield f".{field.encode_name}", field.type
        case kinds.TupleType(item_types=types):
            for index, each in enumerate(types):
                yield f"[{index}]", each
        case kinds.DictType(key_type=key, value_type=value):
            yield "[key]", key
            yield "[]", value
        case kinds.CollectionType(item_type=item):
            yield "[]", item


def _unbounded(kind: kinds.Type, at: str, seen: set[type], wide: bool = False) -> Iterator[str]:
    match kind:
        case kinds.Metadata(extra=extra) if extra is not None:
            wide = extra.get("column") == WIDE["column"]
        case kinds.IntType(gt=gt, ge=ge, lt=lt, le=le):
            low = ge if ge is not None else gt
            high = le if le is not None else lt
            widest = INT8_MAX if wide else INT4_MAX
            if low is None or high is None or low < -widest - 1 or high > widest:
                yield f"{at}: an integer without the bounds of an int{8 if wide else 4}"
        case kinds.FloatType(gt=gt, ge=ge, lt=lt, le=le):
            if (ge is None and gt is None) or (le is None and lt is None):
                yield f"{at}: a float without bounds"
        case kinds.DateTimeType(tz=tz) if tz is not True:
            yield f"{at}: a date and time that need not have a time zone"
        case kinds.DecimalType() | kinds.TimeDeltaType():
            yield f"{at}: a {type(kind).__name__}, which cannot be bounded"
        case kinds.StructType(cls=cls) | kinds.DataclassType(cls=cls) | kinds.TypedDictType(cls=cls):
            if cls in seen:
                return
            seen.add(cls)
    for name, part in _parts(kind):
        yield from _unbounded(part, at + name, seen, wide)


def _holds_times(kind: kinds.Type, seen: set[type]) -> bool:
    if isinstance(kind, kinds.DateTimeType | kinds.DateType):
        return True
    if isinstance(kind, kinds.StructType | kinds.DataclassType | kinds.TypedDictType):
        if kind.cls in seen:
            return False
        seen.add(kind.cls)
    return any(_holds_times(part, seen) for _, part in _parts(kind))
