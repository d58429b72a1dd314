"""The cost model: what rows ask of a model and what machines give, made into totals; docs/scale.md explains it."""

from __future__ import annotations

from dataclasses import dataclass

ROW_SECONDS = 0.5e-3
"""Own work a row in all stages but training, on one core; benchmarks.scale.rows."""
CALL_SECONDS = 0.3e-3
"""Own work a call at a server, on one core; benchmarks.speed.client."""
ROW_BYTES = 500
"""Disk that a row takes in the run directory, without its text; benchmarks.scale.rows."""
CALL_BYTES = 500
"""Disk that a call takes in the ledger, with short answers and their log-probabilities; benchmarks.scale.rows."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a stage asks of the model for each of the run's rows, on average over all rows."""

    stage: str
    calls: float
    prompt_tokens: float
    completion_tokens: float

    def times(self, share: float) -> Demand:
        """Return the demand of a stage that asks so many times as much."""
        return Demand(self.stage, share * self.calls, share * self.prompt_tokens, share * self.completion_tokens)


@dataclass(frozen=True, slots=True)
class Supply:
    """What answers: tokens a second of one server (a GPU), read and written, how many there are, and the cores here.

    A server either reads or writes: its seconds are prompt_tokens / `reads` + completion_tokens / `writes`. `calls`:
    calls a second that one server answers at most, where that is known.
    """

    reads: float
    writes: float
    servers: int = 1
    cores: int = 1
    calls: float | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Money for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Totals. `server` and `own` are seconds of all servers and all cores working side by side."""

    calls: float
    prompt_tokens: float
    completion_tokens: float
    server: float
    own: float
    money: float
    bytes: float

    @property
    def seconds(self) -> float:
        """Wall time: servers and cores work at the same time, and the slower of them sets the pace."""
        return max(self.server, self.own)


def cost(demand: Demand, rows: int, supply: Supply, prices: Prices | None = None) -> Cost:
    """Return what a stage's calls take for so many rows."""
    prices = prices or Prices()
    calls, read, written = rows * demand.calls, rows * demand.prompt_tokens, rows * demand.completion_tokens
    server = max(read / supply.reads + written / supply.writes, calls / supply.calls if supply.calls else 0.0)
    return Cost(
        calls=calls,
        prompt_tokens=read,
        completion_tokens=written,
        server=server / supply.servers,
        own=calls * CALL_SECONDS / supply.cores,
        money=(read * prices.prompt + written * prices.completion) / 1e6,
        bytes=calls * CALL_BYTES,
    )


def row_cost(rows: int) -> Cost:
    """Return what so many rows take beside their calls: they are read, fused, decided and exported by one process."""
    return Cost(0, 0, 0, server=0.0, own=rows * ROW_SECONDS, money=0.0, bytes=rows * ROW_BYTES)
