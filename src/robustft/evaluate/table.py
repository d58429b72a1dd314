"""The experiment's table and picture, for a terminal, a Markdown page and an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

HEADING = ("arm", "rows", "right", "accuracy, 95 %", "to none, 95 %", "gap")
NOTE = (
    "All in percent. arm: what is trained on. none: the rows as given; paper, posterior: what these methods leave; "
    "random: as many given rows as posterior leaves; oracle: the truth; base: nothing. right: rows trained on whose "
    "response is the true one. accuracy: on held-out rows, the mean of the seeds, with their range where they differ. "
    "gap: the difference to none as a share of the oracle's. Intervals are of the held-out rows (Wilson's; to none: "
    "Newcombe's of paired rows); what the seeds add isn't in them. *: rows weighted by their confidence."
)
_WIDTH, _LEFT, _RIGHT, _STEP = 600, 90, 10, 26


def table(found: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of compare.json's table, the base model first; their columns are HEADING."""
    base = found["base"]
    rows = [["base", "0", "–", _accuracy(base["accuracy"], base["ci95"]), "–", "–"]]
    return rows + [_row(name, arm) for name, arm in found["arms"].items()]


def markdown(found: Mapping[str, Any]) -> str:
    """Return the table, what it is of, and what was left out."""
    lines = [HEADING, ["---"] * len(HEADING), *table(found)]
    return "\n\n".join([*caption(found), "\n".join(f"| {' | '.join(line)} |" for line in lines), NOTE])


def caption(found: Mapping[str, Any]) -> list[str]:
    """Return sentences that say what was trained, how it was evaluated, and what is missing."""
    train, base, overlap = found["train"], found["base"], found["overlap"]
    steps = found["steps"] or train["max_steps"]
    budget = f"{steps} steps" if steps else f"epochs: {train['epochs']:g},"
    seeds = ", ".join(str(seed) for seed in found["seeds"])
    said = [
        f"{train['model']}, LoRA of rank {train['rank']}, {budget} in batches of "
        f"{train['batch_size'] * train['accumulation']}, learning rate {train['lr']:g}, seeds {seeds}; answers "
        f"{base['answers']}, {base['n']} held-out rows, of which {overlap['exact'] + overlap['near']} are training "
        f"rows too ({overlap['exact']} word for word)."
    ]
    if set_aside := len(found["set_aside"]):
        said.append(f"{set_aside} held-out rows are set aside: {found['set_aside'][0]}{', ...' * (set_aside > 1)}.")
    return said + [f"Arm {arm} is left out: {reason}." for arm, reason in found["skipped"].items()]


def picture(found: Mapping[str, Any]) -> str:
    """Return an SVG of the accuracies with their intervals, a line each, and of the single seeds as ticks."""
    arms = found["arms"]
    figures = {"base": found["base"], **arms}
    low = max(0.0, min(arm["ci95"][0] for arm in figures.values()) - 0.02)
    high = min(1.0, max(arm["ci95"][1] for arm in figures.values()) + 0.02)
    height = _STEP * (len(figures) + 1)

    def x(value: float) -> float:
        return float(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT))

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="accuracy by arm" '
        'style="width: 100%; max-width: 50rem; font: 12px sans-serif" fill="currentColor" stroke="currentColor">'
    ]
    for place, (name, arm) in enumerate(figures.items()):
        y = _STEP * (place + 0.5)
        seeds = [figure["accuracy"] for figure in arm.get("by_seed", {}).values()]
        parts += [
            f'<text x="0" y="{y + 4:.0f}" stroke="none">{escape(name)}</text>',
            f'<line x1="{x(arm["ci95"][0]):.1f}" x2="{x(arm["ci95"][1]):.1f}" y1="{y:.0f}" y2="{y:.0f}"/>',
            f'<circle cx="{x(arm["accuracy"]):.1f}" cy="{y:.0f}" r="4"/>',
            *(f'<line x1="{x(s):.1f}" x2="{x(s):.1f}" y1="{y - 6:.0f}" y2="{y + 6:.0f}"/>' for s in seeds),
        ]
    for value in _ticks(low, high):
        parts += [
            f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="0" y2="{height - 18}" stroke-opacity=".15"/>',
            f'<text x="{x(value):.1f}" y="{height - 4}" text-anchor="middle" stroke="none">{100 * value:.0f} %</text>',
        ]
    return "".join([*parts, "</svg>"])


def page(found: Mapping[str, Any]) -> str:
    """Return compare.html: the sentences, the picture and the table on one page that needs no network."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>robustft compare</title><style>'
        ":root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; "
        "margin: 2rem auto; padding: 0 1rem } td, th { text-align: left; padding: .3rem .6rem }</style></head><body>"
        f"<h1>Does cleaning help?</h1>{section(found)}</body></html>\n"
    )


def section(found: Mapping[str, Any]) -> str:
    """Return the part of an HTML page that shows the experiment."""
    cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table(found))
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADING)
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in caption(found))
    return f"{said}{picture(found)}<table><tr>{head}</tr>{cells}</table><p>{escape(NOTE)}</p>"


def _row(name: str, arm: Mapping[str, Any]) -> list[str]:
    seeds = [figure["accuracy"] for figure in arm["by_seed"].values()]
    spread = f" [{_percent(min(seeds))}–{_percent(max(seeds))}]" if min(seeds) < max(seeds) else ""
    difference, gap = arm["against_none"], arm["gap_closed"]
    return [
        name + "*" * arm["weighted"],
        str(arm["rows"]),
        "–" if arm["right"] is None else _percent(arm["right"]),
        _accuracy(arm["accuracy"], arm["ci95"]) + spread,
        "–" if difference is None else _difference(difference["value"], difference["ci95"]),
        "–" if gap is None else f"{100 * gap:.0f}",
    ]


def _accuracy(value: float, ends: Sequence[float]) -> str:
    return f"{_percent(value)} ({_percent(ends[0])}–{_percent(ends[1])})"


def _difference(value: float, ends: Sequence[float]) -> str:
    return f"{100 * value:+.1f} ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / step <= 8)
    return [place * step for place in range(int(low / step) + 1, int(high / step) + 1)]
