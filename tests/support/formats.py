"""Importing this makes schemathesis send dates that we take; JSON Schema cannot say which (`backplane.bounds`)."""

from datetime import date, datetime

import schemathesis
from hypothesis import strategies as st

FIRST, LAST = date(1800, 1, 2), date(2199, 12, 30)

schemathesis.openapi.format("date", st.dates(FIRST, LAST).map(date.isoformat))
schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(FIRST.year, 1, 2), datetime(LAST.year, 12, 30)).map(lambda at: at.isoformat() + "Z"),
)
