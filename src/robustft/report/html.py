"""The HTML report: one self-contained page that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader

from robustft import __version__
from robustft.config import Config
from robustft.evaluate.table import section
from robustft.records import Decision, Example
from robustft.tasks.options import letters

MOST_ROWS = 2000
"""Rows that the page lists; all of them are in decisions.parquet."""


def render(
    name: str,
    config: Config,
    metrics: dict[str, Any],
    examples: Sequence[Example],
    decisions: Sequence[Decision],
    loss: Sequence[dict[str, float]] = (),
) -> str:
    """Return the page. Everything that comes from data is escaped. `loss`: the points of training.json's curve."""
    environment = Environment(loader=PackageLoader("robustft.report", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html.j2").render(
        name=name,
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        metrics=metrics,
        rows=[_row(example, decision) for example, decision in zip(examples[:MOST_ROWS], decisions, strict=False)],
        most_rows=MOST_ROWS,
        comparison=section(metrics["compare"]) if metrics["compare"] else "",
        loss_line=polyline([(point["step"], point["loss"]) for point in loss]),
        version=__version__,
    )


def polyline(points: Sequence[tuple[float, float]], width: int = 600, height: int = 160) -> str:
    """Return the points of an SVG polyline that fills the box, x from the first point on and y from 0; '' for none."""
    if not points:
        return ""
    left, right = points[0][0], points[-1][0]
    top = max(y for _, y in points) or 1.0
    return " ".join(
        f"{width * (x - left) / max(right - left, 1e-9):.1f},{height * (1 - y / top):.1f}" for x, y in points
    )


def _row(example: Example, decision: Decision) -> dict[str, Any]:
    return {
        "question": "\n".join(message["content"] for message in example.messages),
        "decision": decision,
        "votes": [f"{expert}: {_vote(vote, example)}" for expert, vote in decision.votes.items()],
    }


def _vote(vote: str | None, example: Example) -> str:
    """Return a vote with its option's text, since a letter alone says little."""
    if vote is None:
        return "no answer"
    names = letters(len(example.options))
    return f"{vote} ({example.options[names.index(vote)]})" if vote in names else vote
