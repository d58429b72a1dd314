"""The HTML report: one self-contained page that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from robustft.config import Config
from robustft.evaluate.table import section
from robustft.fusion.views import PROBE, TUNED
from robustft.records import Answer, Decision, Example, Verdict
from robustft.report import charts
from robustft.report.columns import GIVEN, MOST_VALUES, Columns, by_value, gather, nll_by_row, response_nll
from robustft.report.figures import agreement, confusion, effective_voices, krippendorff_alpha, reliability
from robustft.report.metrics import expected_calibration_error
from robustft.report.rows import packed
from robustft.report.versions import versions
from robustft.store import Stored
from robustft.tasks.task import Task
from robustft.terminal.figures import amount, count, duration, percent

MOST_CLASSES = 12
"""Values, at most, whose confusion is shown as a matrix."""
MOST_PAIRS = 10
"""Changes from one value to another that are listed."""
SHORTEST = 0.05
"""Seconds from which on a stage without calls is listed."""


def render(
    name: str,
    config: Config,
    metrics: dict[str, Any],
    task: Task,
    examples: Stored[Example],
    verdicts: Stored[Verdict],
    decisions: Stored[Decision],
    said: Sequence[Stored[Answer]],
    stages: dict[str, Any],
    loss: Sequence[dict[str, float]] = (),
) -> str:
    """Return the page. Everything that comes from data is escaped. `loss`: the points of training.json's curve."""
    columns = gather(examples, verdicts, decisions, task, config.report.groups)
    assets = files("robustft.report")
    environment = Environment(loader=PackageLoader("robustft.report", "."), autoescape=True, trim_blocks=True)
    environment.filters |= {"percent": _percent, "count": count, "duration": duration, "amount": amount}
    return environment.get_template("report.html.j2").render(
        name=name,
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        metrics=metrics,
        stages={stage: facts for stage, facts in stages.items() if _tells(facts)},
        readings={name: seen for name, seen in metrics["readings"].items() if name not in {PROBE, TUNED}},
        price=config.llm.price,
        voices=_voices(columns),
        confusion=_confusion(columns),
        spread=_spread(columns, said, [id_ for table in examples.tables(["id"]) for id_ in _ids(table)]),
        calibration=_calibration(columns),
        groups=_groups(columns),
        most_values=MOST_VALUES,
        comparison=Markup(section(metrics["compare"])) if metrics["compare"] else "",  # noqa: S704 - escapes its texts
        loss=_markup(charts.loss_curve(loss)),
        rows=packed(examples, decisions),
        versions=versions(),
        css=Markup(assets.joinpath("report.css").read_text("utf-8")),  # noqa: S704 - our own file
        script=Markup(assets.joinpath("report.js").read_text("utf-8")),  # noqa: S704 - our own file
    )


def _tells(stage: dict[str, Any]) -> bool:
    """Whether a stage has made calls or taken time: what the config doesn't ask for does neither."""
    calls = stage.get("calls") or {}
    return bool(calls) and (calls["requests"] + calls["cached"] > 0 or stage["wall_s"] >= SHORTEST)


def _ids(table: Any) -> list[str]:
    return list(table.column(0).to_pylist())


def _percent(value: float | None) -> str:
    """Return a share as a percentage whose sign stays on the number's line."""
    return percent(value).replace(" ", "\N{NO-BREAK SPACE}")


def _markup(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - drawn from numbers and words of our own


def _voices(columns: Columns) -> dict[str, Any] | None:
    """Return who agrees with whom; None where nobody answered."""
    names, codes = columns.codes()
    if set(names) <= {GIVEN}:
        return None
    # the given label comes last, beside those who never saw it
    order = [*(i for i, name in enumerate(names) if name != GIVEN), names.index(GIVEN)]
    shares, counts = agreement(codes[order])
    experts = codes[order[:-1]]
    return {
        "names": [names[i] for i in order],
        "shares": np.where(np.isnan(shares), -1, shares).tolist(),
        "counts": counts.tolist(),
        "alpha": krippendorff_alpha(experts) if len(experts) > 1 else None,
        "alpha_with_label": krippendorff_alpha(codes),
        "effective": effective_voices(columns.mistakes()) if len(experts) > 1 else None,
        "experts": len(experts),
    }


def _confusion(columns: Columns) -> dict[str, Any]:
    """Return how given responses became final ones, over the rows that are trained on."""
    kept = columns.trained_on
    given, final = ([v for v, on in zip(values, kept, strict=True) if on] for values in (columns.given, columns.final))
    counts = confusion(given, final)
    names = sorted({name for pair in counts for name in pair})
    matrix = [[counts.get((one, other), 0) for other in names] for one in names] if len(names) <= MOST_CLASSES else None
    changes = [(one, other, n) for (one, other), n in counts.items() if one != other]
    return {"names": names, "matrix": matrix, "changes": changes[:MOST_PAIRS], "more": len(changes) - MOST_PAIRS}


def _spread(columns: Columns, said: Sequence[Stored[Answer]], ids: Sequence[str]) -> list[tuple[str, Markup]]:
    kept, confidence, nll = columns.trained_on, np.array(columns.confidence), nll_by_row(said, ids)
    given, final = response_nll(columns, said, ids).T
    drawn = [
        ("How sure the decisions are", charts.histogram(confidence[kept], confidence[~kept], "confidence")),
        (
            "How sure the answers are",
            charts.histogram(nll[kept], nll[~kept], "mean NLL of a row's answers, nats per token"),
        ),
        (
            "How likely the responses are",
            charts.before_and_after(given, final[kept], "−log p of the response by the experts' mean, nats"),
        ),
    ]
    return [(title, _markup(svg)) for title, svg in drawn if svg]


def _calibration(columns: Columns) -> dict[str, Any] | None:
    """Return how often rows are right against how sure the run was of them; None without a truth."""
    measured = columns.measured
    if not measured.any():
        return None
    confidence, right = np.array(columns.confidence)[measured], np.array(columns.right_after, dtype=bool)[measured]
    diagram = _markup(charts.reliability_diagram(reliability(confidence, right)))
    return {"diagram": diagram, "ece": expected_calibration_error(confidence, right), "rows": int(measured.sum())}


def _groups(columns: Columns) -> dict[str, Any]:
    """Return what became of the rows of each given label, and of each value of the columns that the config names."""
    named: dict[str, Any] = {}
    if len({value for value in columns.given if value is not None}) <= MOST_VALUES:
        named[GIVEN] = by_value(columns, columns.given)
    return named | {name: by_value(columns, list(values)) for name, values in columns.groups.items()}
