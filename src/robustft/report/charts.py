"""Charts as SVG inside the page: drawn by matplotlib, coloured by the page's own CSS, so that dark mode works."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = {"#010101": "currentColor", "#010102": "var(--keep)", "#010103": "var(--drop)", "#010104": "var(--relabel)"}
"""Colours that are drawn, and what the page takes in their place."""
INK, KEPT, DROPPED, LINE = _INK
_OWN_ID = re.compile(r' id="[A-Za-z]+(?:2[dD])?_\d+"')
_FONT = re.compile(r"font: ([\d.]+px) [^;\"]*")


def histogram(kept: NDArray[np.float64], dropped: NDArray[np.float64], what: str) -> str:
    """Return how a quantity is spread over the rows that are trained on and over those left out; '' for no rows."""
    kept, dropped = kept[np.isfinite(kept)], dropped[np.isfinite(dropped)]
    both = np.concatenate([kept, dropped])
    if not len(both):
        return ""
    edges = np.linspace(min(both.min(), 0.0), max(np.quantile(both, 0.995), both.min() + 1e-6), 31)

    def draw(axes: Axes) -> None:
        parts = [np.clip(part, edges[0], edges[-1]) for part in (kept, dropped)]
        axes.hist(parts, list(edges), stacked=True, color=[KEPT, DROPPED], label=["trained on", "left out"])
        _count_rows(axes, what)

    return _svg(draw, what)


def before_and_after(before: NDArray[np.float64], after: NDArray[np.float64], what: str) -> str:
    """Return how a quantity is spread over all rows as given, and over those trained on; '' where there is none."""
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if not len(before) or not len(after):
        return ""
    edges = np.linspace(0.0, max(before.max(), after.max(), 1e-6), 31)

    def draw(axes: Axes) -> None:
        axes.hist(after, list(edges), color=KEPT, label="trained on, final responses")
        axes.hist(before, list(edges), color=INK, histtype="step", label="all rows, as given")
        _count_rows(axes, what)

    return _svg(draw, what)


def reliability_diagram(bins: Sequence[tuple[float, float, int]]) -> str:
    """Return how often rows are right against how sure they are: mean confidence, share right, rows of each bin."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        sizes = [15 + 285 * rows / max(rows for *_, rows in bins) for *_, rows in bins]
        axes.scatter([bin_[0] for bin_ in bins], [bin_[1] for bin_ in bins], s=sizes, color=LINE, alpha=0.8)
        for confidence, right, rows in bins:
            axes.annotate(f"{rows:,}", (confidence, right), (0, 9), textcoords="offset points", ha="center", fontsize=8)
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.15), xlabel="confidence", ylabel="share that is right")

    return _svg(draw, "reliability") if bins else ""


def loss_curve(points: Sequence[Mapping[str, float]]) -> str:
    """Return the training loss by step."""

    def draw(axes: Axes) -> None:
        axes.plot([point["step"] for point in points], [point["loss"] for point in points], color=LINE)
        axes.set(xlabel="step", ylabel="loss", ylim=(0, None))

    return _svg(draw, "training loss by step") if points else ""


def _count_rows(axes: Axes, what: str) -> None:
    axes.set(xlabel=what, ylabel="rows")
    axes.locator_params(axis="y", integer=True)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False)


def _svg(draw: Callable[[Axes], None], label: str) -> str:
    """Return what `draw` draws, without fonts, colours or ids of its own."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": label,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9.0,
        "path.simplify": True,
        **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], INK),
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.6, 2.6), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = _FONT.sub(r"font: \1 inherit", _OWN_ID.sub("", text[text.index("<svg") :]))
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text)
    for drawn, taken in _INK.items():
        text = text.replace(drawn, taken)
    return text
