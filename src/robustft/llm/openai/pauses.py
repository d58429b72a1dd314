"""How long to wait before trying again: what we choose, and what a server asks of everyone."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom

_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits between attempts at one call, in seconds.

    `first` doubles after every attempt up to `longest`, and up to `first` of jitter is added. A server that asks for
    more than `patience` (Retry-After) ends the run instead of being waited for.
    """

    first: float = 0.5
    longest: float = 30.0
    patience: float = 600.0


class Cooldown:
    """A pause that the server asked for and every caller keeps."""

    def __init__(self, jitter: float) -> None:
        self._jitter, self._until = jitter, 0.0

    def extend(self, seconds: float) -> None:
        """Let every caller wait at least this long from now on."""
        self._until = max(self._until, time.monotonic() + seconds)

    async def over(self) -> None:
        """Return when no pause is left; those who waited come back spread over `jitter` seconds."""
        if (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(left + _RANDOM.uniform(0, self._jitter))
            await self.over()  # it may have been extended


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds (>= 0) that a Retry-After header asks for: a number, or an HTTP date; None for neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
