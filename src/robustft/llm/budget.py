"""What a run may spend on calls. What isn't asked any more leaves its row as it is, and the same command goes on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from robustft.config import Config, PriceConfig
from robustft.errors import UnaskedError
from robustft.llm.calls import Calls


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent: `calls`, `tokens`, `cost` in the currency of `price`; `end`: the time.time() of its end.

    Calls that are under way when it is spent are finished, so that tokens and cost go over it by these.
    """

    calls: float = math.inf
    tokens: float = math.inf
    cost: float = math.inf
    end: float = math.inf
    price: PriceConfig | None = None

    @classmethod
    def of(cls, config: Config) -> Budget:
        """Return what the config allows, from now on."""
        named = config.budget.model_dump(exclude_none=True)
        minutes = named.pop("minutes", math.inf)
        return cls(**named, end=time.time() + 60 * minutes, price=config.llm.price)

    def check(self, spent: Calls) -> None:
        """Raise UnaskedError where nothing is left for a further call."""
        if spent.requests >= self.calls:
            raise UnaskedError(f"budget.calls: {self.calls:g} are spent")
        if spent.tokens >= self.tokens:
            raise UnaskedError(f"budget.tokens: {self.tokens:g} are spent")
        if self.cost < math.inf and (spent.cost(self.price) or 0.0) >= self.cost:
            raise UnaskedError(f"budget.cost: {self.cost:g} is spent")
        if time.time() >= self.end:
            raise UnaskedError("budget.minutes: they are over")

    def part(self, spent: Calls, parts: int) -> Budget:
        """Return one of the equal parts of what is left, for one of those who spend it side by side."""

        def share(limit: float, gone: float) -> float:
            return max(0.0, limit - gone) / parts

        return replace(
            self,
            calls=share(self.calls, spent.requests),
            tokens=share(self.tokens, spent.tokens),
            cost=share(self.cost, spent.cost(self.price) or 0.0),
        )
