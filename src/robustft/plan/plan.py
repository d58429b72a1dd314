"""A plan: each stage's totals for all rows, expected, with an interval, and at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustft.config import Config
from robustft.plan.cost import Demand, Prices, Supply, cost, row_cost
from robustft.plan.pilot import Pilot, StagePilot

_ENDS = ("expected", "low", "high", "most")
_COLUMNS = ("calls", "prompt_tokens", "completion_tokens", "money", "seconds")


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the servers are, where somebody knows: tokens a second that one reads, and writes."""

    reads: float | None = None
    writes: float | None = None
    servers: int = 1


def plan(found: Pilot, config: Config, rows: int | None = None, speed: Speed | None = None) -> dict[str, Any]:
    """Return what the run takes for `rows` rows (None: those of the file), as plain values.

    {rows, pilot, disk, stages: {name: {what: {expected, low, high, most}}}, total: the same}; the stage `rows` is what
    is done beside calls. Money and seconds are None where no price, or no speed, is known.
    """
    rows, speed = found.rows if rows is None else rows, speed or Speed()
    asking = [stage for stage in found.stages if stage.most.calls]
    stages = {stage.expected.stage: _stage(stage, rows, config, speed) for stage in asking}
    own = row_cost(rows)
    stages["rows"] = {what: dict.fromkeys(_ENDS, getattr(own, what)) for what in _COLUMNS}
    total = {what: {end: _sum([stage[what][end] for stage in stages.values()]) for end in _ENDS} for what in _COLUMNS}
    bare = Supply(float("inf"), float("inf"))
    disk = own.bytes + sum(cost(stage.expected, rows, bare).bytes for stage in asking)
    return {"rows": rows, "pilot": found.asked, "disk": disk, "stages": stages, "total": total}


def _sum(parts: Sequence[float | None]) -> float | None:
    """Return the sum; None where a part isn't known."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _stage(stage: StagePilot, rows: int, config: Config, speed: Speed) -> dict[str, dict[str, float | None]]:
    ends = {"expected": stage.expected, "low": stage.low, "high": stage.high, "most": stage.most}
    costs = {end: _cost(demand, stage.rate, rows, config, speed) for end, demand in ends.items()}
    return {what: {end: found[what] for end, found in costs.items()} for what in _COLUMNS}


def _cost(demand: Demand, rate: float | None, rows: int, config: Config, speed: Speed) -> dict[str, float | None]:
    price = config.llm.price
    prices = None if price is None else Prices(price.prompt, price.completion)
    supply = _supply(rate, speed) if demand.calls else Supply(float("inf"), float("inf"))
    found = cost(demand, rows, supply or Supply(float("inf"), float("inf")), prices)
    return {
        **{name: getattr(found, name) for name in _COLUMNS},
        "money": None if prices is None else found.money,
        "seconds": None if supply is None else found.seconds,
    }


def _supply(rate: float | None, speed: Speed) -> Supply | None:
    """Return how fast answers come: as somebody says, else as in the pilot; None where neither is known."""
    if speed.reads is not None and speed.writes is not None:
        return Supply(speed.reads, speed.writes, speed.servers)
    return None if rate is None else Supply(float("inf"), float("inf"), speed.servers, calls=rate)
