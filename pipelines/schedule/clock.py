"""Times of day of a schedule: pure functions of a local date and time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from recap.errors import ConfigError

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def check_time(text: str, *, option: str = "--at") -> str:
    """`text`, if it is a time of day.

    Raises:
        ConfigError: not HH:MM between 00:00 and 23:59.
    """
    if not _TIME.fullmatch(text):
        raise ConfigError(f"{option} {text!r}: expected HH:MM between 00:00 and 23:59, e.g. 02:00")
    return text


def next_time(text: str, after: datetime) -> datetime:
    """The first moment after `after` at which a clock shows `text`."""
    hours, minutes = map(int, text.split(":"))
    at = after.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    return at if at > after else at + timedelta(days=1)


def last_time(text: str, before: datetime) -> datetime:
    """The last moment at which a clock showed `text`, `before` itself included."""
    return next_time(text, before) - timedelta(days=1)


def seconds_of(text: str, *, option: str) -> float:
    """UTC seconds of the next moment at which the clock of this machine shows `text`.

    Raises:
        ConfigError: not a time of day.
    """
    return next_time(check_time(text, option=option), datetime.now()).timestamp()
