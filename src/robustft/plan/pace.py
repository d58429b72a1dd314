"""How fast the pilot's calls were answered, without what a run does beside them."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace

from robustft.config import PriceConfig
from robustft.engine.local import Progress
from robustft.llm.calls import Calls
from robustft.records import OF_RELABEL


class Pace:
    """Progress that is passed on to `shown`, with the steps timed that ask the model.

    The probe, its embeddings and the fusion take as long for a few rows as for many: in the time of a whole stage they
    would make the model look slower than it is.
    """

    def __init__(self, shown: Progress) -> None:
        self._shown, self._calls = shown, Calls()
        self._step, self._since, self._before = "", 0.0, Calls()
        self._seconds: dict[str, float] = defaultdict(float)
        self._asked: dict[str, Calls] = defaultdict(Calls)

    def rate(self, stage: str) -> float | None:
        """Return the calls a second that a stage's steps made; None where most answers came from the ledger."""
        asked = self._asked[stage]
        return asked.requests / self._seconds[stage] if asked.requests > asked.cached else None

    def start(self, stage: str, total: int) -> None:
        """Begin to time a step."""
        self._step, self._since, self._before = stage, time.monotonic(), replace(self._calls)
        self._shown.start(stage, total)

    def finish(self) -> None:
        """Count a step that has asked the model."""
        spent = self._calls - self._before
        if spent.requests + spent.cached:
            stage = "relabel" if self._step in OF_RELABEL else "detect"
            self._seconds[stage] += time.monotonic() - self._since
            self._asked[stage].include(spent)
        self._shown.finish()

    def watch(self, calls: Calls, price: PriceConfig | None) -> None:
        """Take the steps' calls from what is counted there."""
        self._calls = calls
        self._shown.watch(calls, price)

    def advance(self, rows: int = 1) -> None:
        """Pass it on."""
        self._shown.advance(rows)

    def abstain(self, answers: int = 1) -> None:
        """Pass it on."""
        self._shown.abstain(answers)

    def note(self, line: str) -> None:
        """Pass it on."""
        self._shown.note(line)
