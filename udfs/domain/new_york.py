"""The date in New York of a time: what a day of its markets is.

Ordering, invariants: a pure function of the time and of the time zone data of the machine, which for past times is the same
everywhere. Complexity: constant; a microsecond or two, for places that are not passed with every record.
"""

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

_NEW_YORK: Final = ZoneInfo("America/New_York")
_SECOND_NS: Final = 1_000_000_000


def new_york_day(time_ns: int) -> int:
    """The number of the day in New York (proleptic, 1 is the first of January of year 1) of UTC nanoseconds since 1970.

    Raises ValueError, OverflowError for a time outside the years 1 to 9999.
    """
    return datetime.fromtimestamp(time_ns // _SECOND_NS, _NEW_YORK).toordinal()
