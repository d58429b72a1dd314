"""What calls came to: how many there were, their tokens, and the money for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from robustft.config import PriceConfig


@dataclass(slots=True)
class Calls:
    """Counts of calls.

    `requests` went to the model (a score is one, however many candidates it has), `cached` were answered from the
    ledger or by an identical call in flight, `failed` are the requests that failed for good; tokens are the requests'.
    """

    requests: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Calls) -> Calls:
        mine, its = self.as_dict(), other.as_dict()
        return Calls(**{name: mine[name] + its[name] for name in mine})

    def __sub__(self, other: Calls) -> Calls:
        mine, its = self.as_dict(), other.as_dict()
        return Calls(**{name: mine[name] - its[name] for name in mine})

    def include(self, more: Calls) -> None:
        """Count what somebody else has counted, too."""
        for name, count in (self + more).as_dict().items():
            setattr(self, name, count)

    @property
    def tokens(self) -> int:
        """Tokens sent and answered."""
        return self.prompt_tokens + self.completion_tokens

    def cost(self, price: PriceConfig | None) -> float | None:
        """Return the money for the tokens; None where no price is known."""
        if price is None:
            return None
        return (self.prompt_tokens * price.prompt + self.completion_tokens * price.completion) / 1e6

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)
