"""The quality benchmark's tables: from results.json to the part of a Markdown page between two markers.

python -m benchmarks.quality.tables CELLS/results.json docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import orjson

from benchmarks.quality.cells import EXPERTS, KINDS, LABELS_ONLY
from benchmarks.quality.page import rewrite

SECTION = "denoise"
RIVALS = ("paper", "probe", "self-label", "cleanlab", "none")
MARGIN = 0.01
"""How far method posterior may stay behind the best rival's label accuracy of all rows."""
NAMES = {
    "none": "labels as given",
    "self-select": "SelfSelect",
    "self-label": "expert alone",
    "paper": "paper (RobustFT)",
    "probe": "probe alone",
}

Cell = Mapping[str, Any]


class Group:
    """The cells that differ only in their seed."""

    def __init__(self, cells: Sequence[Cell], experts: str) -> None:
        self.cells, self.experts = cells, experts

    @property
    def first(self) -> Cell:
        """One of them, for what they have in common."""
        return self.cells[0]

    @property
    def method(self) -> str:
        """The method's name in the tables."""
        name: str = self.first["method"]["name"]
        return NAMES.get(name, name)

    @property
    def place(self) -> tuple[str, str, int | None]:
        """Task, noise and rows."""
        return self.first["task"], self.first["noise"], self.first["rows"]

    def values(self, figure: str) -> list[Any]:
        """Return a figure of each seed, where it is defined."""
        if figure == "at_paper_coverage":
            found = [cell[figure].get(self.experts) for cell in self.cells]
        else:
            found = [cell["figures"][figure] for cell in self.cells]
        return [value for value in found if value is not None]

    def mean(self, figure: str) -> float:
        """Return a figure's mean over the seeds."""
        return float(mean(self.values(figure)))


def _share(values: Sequence[float]) -> str:
    """Write a share: its mean, and the range where seeds differ."""
    if not values:
        return "–"
    low, middle, high = (f"{x:.3f}".removeprefix("0") for x in (min(values), mean(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def _yes(values: Sequence[bool]) -> str:
    if not values:
        return "–"
    return ("yes" if values[0] else "no") if len(set(values)) == 1 else f"{sum(values)} of {len(values)}"


def _amount(digits: int) -> Callable[[Sequence[float]], str]:
    return lambda values: f"{mean(values):.{digits}f}" if values else "–"


COLUMNS: tuple[tuple[str, str, Callable[[Sequence[Any]], str]], ...] = (
    ("rows", "n", _amount(0)),
    ("precision", "precision", _share),
    ("recall", "recall", _share),
    ("F1", "f1", _share),
    ("right, all rows", "accuracy_all", _share),
    ("right, trained on", "accuracy_taken", _share),
    ("coverage", "coverage", _share),
    ("right, at the paper's coverage", "at_paper_coverage", _share),
    ("false corrections", "false_correction_rate", _share),
    ("right labels changed", "changed_right_labels", _share),
    ("ECE", "ece", _share),
    ("e", "noise_rate_estimate", _share),
    ("identified", "identified", _yes),
    ("calls a row", "calls", _amount(2)),
    ("tokens a row", "tokens", _amount(0)),
    ("seconds", "wall_s", _amount(1)),
)


def section(results: Mapping[str, Any]) -> str:
    """Return the Markdown of all tables."""
    blocks = [*_introduction(results), *_targets(results["cells"])]
    for task, experts in _tables(results["cells"]):
        groups = groups_of(results["cells"], task, experts)
        blocks += [f"### {task}, {experts}", _caption(experts), _figures(groups)]
    return "\n\n".join(blocks)


def groups_of(cells: Sequence[Cell], task: str, experts: str) -> list[Group]:
    """Return a task's groups with these experts, and those that need none, in the order of their rows in the table."""
    by_key: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        if cell["task"] == task and cell["experts"] in (experts, LABELS_ONLY):
            by_key.setdefault((cell["noise"], cell["rows"], cell["method"]["name"]), []).append(cell)
    groups = [Group(found, experts) for found in by_key.values()]
    return sorted(groups, key=lambda group: (*_order(group.place), KINDS.index(group.first["method"]["kind"])))


def _tables(cells: Sequence[Cell]) -> Iterator[tuple[str, str]]:
    for task in dict.fromkeys(cell["task"] for cell in cells):
        for experts in EXPERTS:
            if any(cell["task"] == task and cell["experts"] == experts for cell in cells):
                yield task, experts


def _order(place: tuple[str, str, int | None]) -> tuple[bool, str, int]:
    """Sort all rows before fewer, symmetric noise before other kinds, little before much."""
    _, noise, rows = place
    kind, _, percent = noise.rpartition("-")
    return rows is not None, kind, int(percent)


def _level(place: tuple[str, str, int | None]) -> str:
    _, noise, rows = place
    kind, _, percent = noise.rpartition("-")
    return f"{percent} %" + (f" {kind}" if kind else "") + (f", {rows} rows" if rows else "")


def _figures(groups: Sequence[Group]) -> str:
    heading = ["noise", "method", *(name for name, _, _ in COLUMNS)]
    rows = [
        [_level(group.place), group.method, *(write(group.values(figure)) for _, figure, write in COLUMNS)]
        for group in groups
    ]
    return _table(heading, rows)


def _targets(cells: Sequence[Cell]) -> list[str]:
    """Return how often method posterior holds against the best of its rivals, and where it doesn't."""
    counts: dict[tuple[str, str, str], list[bool]] = {}
    missed = []
    for task, experts in _tables(cells):
        for group, best in _contests(groups_of(cells, task, experts)):
            ours, theirs = group.mean("accuracy_all"), best.mean("accuracy_all")
            holds = ours >= theirs - MARGIN
            counts.setdefault((task, experts, group.method), []).append(holds)
            if not holds:
                share = [_share(group.values("accuracy_all")), _share(best.values("accuracy_all"))]
                missed.append([task, experts, _level(group.place), group.method, *share, best.method])
    rivals = ", ".join(NAMES.get(name, name) for name in RIVALS)
    blocks = [
        "### Targets",
        f"Label accuracy of all rows, mean of the seeds, against the best of: {rivals}. A cell holds where method "
        f"posterior is no more than {MARGIN:g} below it.",
    ]
    if not counts:
        return [*blocks, "No cell of method posterior has been run."]
    total = [sum(map(sum, counts.values())), sum(map(len, counts.values()))]
    rows = [[*names, f"{sum(held)} of {len(held)}"] for names, held in counts.items()]
    blocks.append(_table(["task", "experts", "method", "cells that hold"], rows))
    blocks.append(f"{total[0]} of {total[1]} cells hold." + (" Those that don't:" if missed else ""))
    if missed:
        blocks.append(_table(["task", "experts", "noise", "method", "it", "best", "which is"], missed))
    return blocks


def _contests(groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Yield each group of method posterior with the best of its rivals in the same place."""
    for group in groups:
        if group.first["method"]["kind"] == "posterior":
            rivals = [g for g in groups if g.place == group.place and g.first["method"]["kind"] in RIVALS]
            if rivals:
                yield group, max(rivals, key=lambda rival: rival.mean("accuracy_all"))


def _introduction(results: Mapping[str, Any]) -> list[str]:
    made, cells = results["made"], results["cells"]
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    machines, dates, versions = (
        sorted({cell["made"][key] for cell in cells}) for key in ("machine", "date", "version")
    )
    embedders = sorted({cell["made"]["embedder"] for cell in cells})
    shipped = sorted({cell["noise"] for cell in cells if cell["made"]["shipped"]}, key=int)
    seeds = max((cell["seed"] + 1 for cell in cells), default=0)
    return [
        f"{len(cells)} cells, up to {seeds} seeds each, that `python -m benchmarks.quality.denoise` has made so far, "
        f"in one go or in parts; run on {', '.join(dates)} with robustft {', '.join(versions)} (embedder "
        f"{', '.join(embedders)}) on {'; '.join(machines)}; collected on {made['date']} with {packages}. Written by "
        "`python -m benchmarks.quality.tables`.",
        "The data are real: fpb is Financial PhraseBank with three options that all rows share, arc is ARC-Challenge "
        f"with options of its own in each row. Noise at {', '.join(shipped) or 'no level'} % is what RobustFT shipped, "
        "whose truth is known; other levels are planted by `robustft noise`. A row whose shipped label names none of "
        "its options is left out. Sets of fewer rows are drawn at random.",
        "How to read the tables. precision, recall, F1: finding the wrong labels. right: label accuracy of the final "
        "responses, of all rows (the best guess, also for rows that are dropped), of the rows trained on, whose share "
        "is the coverage, and of as many rows as the paper's method trains on with these experts, taken from the "
        "method's most confident down (only where its confidence is a probability). false corrections: share of the "
        "right labels that were changed or lost; right labels changed: share that were changed, also in dropped rows. "
        "ECE is that of the confidence, which for the first four methods is no more than the share of votes, the label "
        "among them, for the final response. e: the noise rate as the method estimates it. calls and tokens: of the "
        "LLM, those answered from the ledger counted like others. seconds: on a machine that did other things too, and "
        "with embeddings that were kept from an earlier cell; – where more than a twentieth of the calls came from the "
        "ledger. Figures are means over the seeds, with the range in parentheses where seeds differ.",
        "probe alone is a logistic regression on the embeddings, fitted on the labels as given of four folds and asked "
        "about the fifth; cleanlab is the library's `find_label_issues` on the same probabilities. Rows that they flag "
        "get the likeliest option. Their classes are the options' letters, so on arc, where a letter means something "
        "else in each row, they are at chance.",
    ]


def _caption(experts: str) -> str:
    if experts == "smollm2":
        return (
            "A real model, SmolLM2-135M-Instruct on a CPU, which scores the options' texts. Its answers are its own; "
            "one seed, since nothing is drawn but the folds of probe and cleanlab, and the rows that are reviewed."
        )
    level = experts.removeprefix("scripted-")
    how = "as often right as chance" if level == "chance" else f"right with probability {float(level):g} at first go"
    return (
        f"**Scripted experts**, {how}: a simulation on the real labels and the real noise, as "
        "[scripted.md](scripted.md) describes; no language model was asked. Its answers with context gain a set amount "
        "and don't depend on which neighbours are shown. labels as given, probe and cleanlab involve no model."
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Write the tables into the page. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="tables")
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    wanted = parser.parse_args(arguments)
    text = section(orjson.loads(wanted.results.read_bytes()))
    try:
        rewrite(wanted.page, SECTION, text)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{wanted.page}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
