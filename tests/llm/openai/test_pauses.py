"""What a server's Retry-After asks for, and that a pause holds for all."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from robustft.llm.openai.pauses import Cooldown, retry_after

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(st.integers(-1000, 100_000))
def testretry_after_as_a_date(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after(date, NOW) == max(seconds, 0)


@given(st.text())
def testretry_after_of_any_text_is_a_wait_or_none(text: str) -> None:
    seconds = retry_after(text, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


def testretry_after_as_a_number() -> None:
    assert retry_after("7", NOW) == 7
    assert retry_after("-7", NOW) == 0
    assert retry_after("nan", NOW) is None
    assert retry_after(None, NOW) is None


async def test_a_pause_that_is_extended_meanwhile_is_kept_to_its_end() -> None:
    cooldown = Cooldown(jitter=0.01)
    begin = time.monotonic()
    await cooldown.over()  # nothing to wait for
    cooldown.extend(0.05)
    waiting = [asyncio.create_task(cooldown.over()) for _ in range(3)]
    await asyncio.sleep(0)
    cooldown.extend(0.1)
    cooldown.extend(0.01)  # a shorter one doesn't end it
    await asyncio.gather(*waiting)
    assert time.monotonic() >= begin + 0.1
