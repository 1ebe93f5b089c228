"""When a provider can be booked: opening hours in wall-clock time, what is taken, and the free slots between.

`zones`, `recurrence`, `hours` and `slots` do no I/O and take ``now`` as an argument; `store` loads them from Postgres.
The rest of booking needs `free_slots`, `is_free` and `next_free` with the values they take.
"""

from booking.calendar.hours import Calendar, Rule, Schedule, Span
from booking.calendar.slots import (
    NotOffered,
    Range,
    ServiceTimes,
    Slot,
    free_slots,
    is_free,
    next_free,
    occupied,
)

__all__ = [
    "Calendar",
    "NotOffered",
    "Range",
    "Rule",
    "Schedule",
    "ServiceTimes",
    "Slot",
    "Span",
    "free_slots",
    "is_free",
    "next_free",
    "occupied",
]
