"""The quality benchmark, end to end on the shop messages with scripted experts."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import denoise, tables
from benchmarks.quality.baselines import BASELINES, flagged, out_of_fold
from benchmarks.quality.cells import (
    CELL,
    EXPERTS,
    KINDS,
    LABELS_ONLY,
    Cell,
    Method,
    Order,
    config_of,
    finished,
    methods,
    run_cell,
)
from benchmarks.quality.figures import accuracy_at, right_by_confidence
from benchmarks.quality.inputs import Source, write_input, write_reviewed
from robustft.data.writing import write_rows
from robustft.records import Decision, Example, Relabel, Verdict
from robustft.run import RunDir

SHOP = Path(__file__).parents[2] / "examples/data/shop/labeled.csv"
CLEANLAB = importlib.util.find_spec("cleanlab") is not None
ROWS = 120
BEGIN, END = (f"<!-- {tables.SECTION}:{edge} -->" for edge in ("begin", "end"))
METHODS = ["none", "self-label", "paper", "probe"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the shop's rows, and noise at 50 % as if it had been shipped: every other label is that of the row above.

    One label there is none at all.
    """
    folder = tmp_path_factory.mktemp("data")
    with SHOP.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:ROWS]
    noisy = [row | {"intent": rows[i - i % 2]["intent"]} for i, row in enumerate(rows)]
    noisy[7]["intent"] = "no such intent"
    write_rows(folder / "shop/labeled.csv", rows)
    write_rows(folder / "shop/noisy/noisy50.csv", noisy)
    return folder


@pytest.fixture(scope="module")
def command(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny grid that has been run."""
    files = ["--data", str(data), "--out", str(tmp_path_factory.mktemp("cells")), "--embedder", "tfidf"]
    sizes = ["--tasks", "shop", "--noise", "30", "--rows", "all", "--seeds", "2"]
    arguments = [*files, *sizes, "--experts", "scripted-0.755", "--methods", *METHODS]
    assert denoise.main(arguments) == 0
    return arguments


@pytest.fixture(scope="module")
def out(command: list[str]) -> Path:
    return Path(command[command.index("--out") + 1])


@pytest.fixture(scope="module")
def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def source(data: Path) -> Source:
    return Source.open("shop", data)


def test_every_cell_has_its_figures(results: dict[str, Any]) -> None:
    named = Counter((cell["experts"], cell["method"]["name"]) for cell in results["cells"])
    assert named == {
        ("labels", "none"): 1,
        ("labels", "probe"): 2,
        ("scripted-0.755", "self-label"): 2,
        ("scripted-0.755", "paper"): 2,
    }
    for cell in results["cells"]:
        assert cell["figures"]["n"] == ROWS
        assert cell["figures"]["noise_rate"] == pytest.approx(0.3)
        if cell["figures"]["coverage"] == 1:
            assert cell["figures"]["accuracy_all"] == cell["figures"]["accuracy_taken"]
        assert not cell["made"]["shipped"]


def test_labels_as_given_are_as_given(results: dict[str, Any]) -> None:
    (cell,) = (cell for cell in results["cells"] if cell["method"]["kind"] == "none")
    assert cell["figures"]["accuracy_all"] == pytest.approx(0.7)
    assert cell["figures"]["changed_right_labels"] == cell["figures"]["calls"] == 0
    assert cell["at_paper_coverage"] == {}


def test_an_expert_alone_is_as_good_as_it_is_set_to(results: dict[str, Any], out: Path) -> None:
    cells = [cell for cell in results["cells"] if cell["method"]["kind"] == "self-label"]
    assert np.mean([cell["figures"]["accuracy_all"] for cell in cells]) == pytest.approx(0.755, abs=0.08)
    assert all(cell["figures"]["calls"] == 1 for cell in cells)
    runs = [list(RunDir(out / f"shop-30-all-scripted-0.755-self-label-{seed}").load(Decision)) for seed in range(2)]
    assert runs[0] != runs[1]


def test_the_paper_at_its_own_coverage_is_what_it_trains_on(results: dict[str, Any]) -> None:
    for cell in results["cells"]:
        if cell["method"]["kind"] == "paper":
            assert cell["at_paper_coverage"] == {"scripted-0.755": cell["figures"]["accuracy_taken"]}
            assert cell["figures"]["calls"] > 2
            assert cell["figures"]["changed_right_labels"] <= cell["figures"]["false_correction_rate"]


def test_a_baseline_writes_the_records_of_a_run(out: Path) -> None:
    run = RunDir(out / "shop-30-all-labels-probe-0")
    examples, decisions, verdicts = list(run.load(Example)), list(run.load(Decision)), list(run.load(Verdict))
    noisy = [verdict.id for verdict in verdicts if verdict.noisy]
    assert noisy == [proposal.id for proposal in list(run.load(Relabel))]
    assert noisy == [decision.id for decision in decisions if decision.decision == "relabel"]
    assert all(d.response_final in e.options for e, d in zip(examples, decisions, strict=True))
    metrics = run.read_json("metrics.json")
    assert metrics["method"] == "probe"
    assert sum(metrics["decisions"].values()) == len(examples) == ROWS
    right = right_by_confidence(run)
    assert right.count("1") / ROWS == metrics["truth"]["label_accuracy"]["after_all"]
    # its confidence tells right from wrong
    assert right[: ROWS // 2].count("1") > right[ROWS // 2 :].count("1")


def test_finished_cells_are_not_run_again(command: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.parquet")}
    collected = untimed(out)
    assert denoise.main(command) == 0
    assert "7 cells, 7 of them finished" in capsys.readouterr().err
    assert untimed(out) == collected
    (out / "shop-30-all-labels-probe-1" / CELL).unlink()
    (out / "shop-30-all-scripted-0.755-paper-0" / CELL).unlink()
    assert denoise.main(command) == 0
    assert {path for path, time in before.items() if path.stat().st_mtime_ns != time} == set(
        (out / "shop-30-all-labels-probe-1").glob("*.parquet")
    )
    assert untimed(out) == collected


def untimed(out: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads((out / "results.json").read_text(encoding="utf-8"))["cells"]
    return [cell | {"figures": cell["figures"] | {"wall_s": None}} for cell in cells]


def test_tables_hold_the_mean_and_the_range_of_the_seeds(results: dict[str, Any]) -> None:
    text = tables.section(results)
    row = next(line for line in text.splitlines() if line.startswith("| 30 % | paper"))
    found = [cell["figures"]["f1"] for cell in results["cells"] if cell["method"]["kind"] == "paper"]
    mean, low, high = (f"{x:.3f}".removeprefix("0") for x in (np.mean(found), min(found), max(found)))
    assert f" {mean} ({low}–{high}) " in row
    assert text.count("| 30 % |") == 4


def test_a_cell_holds_the_command_that_made_it_without_this_machines_folders(results: dict[str, Any]) -> None:
    for cell in results["cells"]:
        said = cell["made"]["command"]
        assert said.startswith("python -m benchmarks.quality.denoise --data data")
        assert f"--methods {' '.join(METHODS)}" in said
        assert "/" not in said


def test_tables_replace_what_is_between_the_markers_and_nothing_else(out: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{BEGIN}\nWHAT WAS THERE\n{END}\nbelow\n", encoding="utf-8")
    assert tables.main([str(out / "results.json"), str(page)]) == 0
    once = page.read_text(encoding="utf-8")
    assert once.startswith(f"# Title\n{BEGIN}\n")
    assert once.endswith(f"{END}\nbelow\n")
    assert "WHAT WAS THERE" not in once
    assert "### shop, scripted-0.755" in once
    assert tables.main([str(out / "results.json"), str(page)]) == 0
    assert page.read_text(encoding="utf-8") == once


def test_a_page_without_markers_stays_as_it_is(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{END}\n{BEGIN}\n", encoding="utf-8")
    assert tables.main([str(out / "results.json"), str(page)]) == 2
    assert page.read_text(encoding="utf-8") == f"{END}\n{BEGIN}\n"
    assert "page.md: needs one line" in capsys.readouterr().err


@pytest.mark.parametrize(("behind", "holds"), [(0.009, True), (0.011, False)])
def test_the_target_is_the_best_rival_less_the_margin(results: dict[str, Any], behind: float, holds: bool) -> None:
    groups = tables.groups_of(results["cells"], "shop", "scripted-0.755")
    best = max(groups, key=lambda group: group.mean("accuracy_all"))
    (example,) = (cell for cell in results["cells"] if cell["method"]["kind"] == "paper" and cell["seed"] == 0)
    figures = example["figures"] | {"accuracy_all": best.mean("accuracy_all") - behind}
    ours = example | {"method": {"name": "posterior", "kind": "posterior"}, "figures": figures}
    text = tables.section(results | {"cells": [*results["cells"], ours]})
    assert f"{int(holds)} of 1 cells hold." in text
    missed = [line for line in text.splitlines() if line.startswith("| shop |") and line.endswith(f"{best.method} |")]
    assert len(missed) == (not holds)


def test_accuracy_at_a_coverage_is_that_of_the_top_rows() -> None:
    assert accuracy_at("1101000000", 0.4) == 0.75
    assert accuracy_at("1101000000", 1.0) == pytest.approx(0.3)
    assert accuracy_at("1101000000", 0.0) is None


def test_noise_that_was_shipped_is_taken_and_other_noise_planted(source: Source, tmp_path: Path) -> None:
    shipped = rows_of(write_input(source, "50", None, tmp_path))
    assert len(shipped) == ROWS - 1  # one of its labels names no option
    assert [row["intent"] for row in shipped[:6]] == [shipped[i - i % 2]["truth"] for i in range(6)]
    clean, wrong = (rows_of(write_input(source, noise, 100, tmp_path)) for noise in ("0", "asymmetric-30"))
    assert len(clean) == 100
    assert [row["id"] for row in clean] == [row["id"] for row in wrong]
    assert all(row["intent"] == row["truth"] for row in clean)
    options = source.config.task.options
    steps = [options.index(row["intent"]) - options.index(row["truth"]) for row in wrong]
    assert {step % len(options) for step in steps} == {0, 1}


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_reviewed_rows_are_rows_of_the_input_with_their_truth(source: Source, tmp_path: Path) -> None:
    path = write_input(source, "30", None, tmp_path)
    truth = {row["id"]: row["truth"] for row in rows_of(path)}
    drawn = []
    for seed in range(2):
        with write_reviewed(source, path, 30, seed).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [truth[row["id"]] for row in rows] == [row["intent"] for row in rows]
        drawn.append({row["id"] for row in rows})
    assert len(drawn[0]) == len(drawn[1]) == 30
    assert drawn[0] != drawn[1]


def test_a_run_takes_the_reviewed_rows(source: Source, tmp_path: Path) -> None:
    path = write_input(source, "30", None, tmp_path)
    reviewed = write_reviewed(source, path, 30, seed=0)
    cell = Cell("shop", "30", None, "scripted-0.60", Method("posterior", "posterior", ("direct",), reviewed=30), 0)
    order = Order(cell, source, path, "tfidf", tmp_path, None, reviewed)
    run_cell(order)
    with reviewed.open(encoding="utf-8", newline="") as file:
        known = {row["id"]: row["intent"] for row in csv.DictReader(file)}
    decisions = list(RunDir(order.folder).load(Decision))
    assert {d.id: d.response_final for d in decisions if d.id in known} == known
    assert finished(order)
    reviewed.write_text(reviewed.read_text(encoding="utf-8").partition("\n")[0] + "\n", encoding="utf-8")
    assert not finished(order)


def test_what_is_known_of_the_model_is_tried_at_the_highest_noise_alone(source: Source) -> None:
    fpb, arc = replace(source, name="fpb", options=3), replace(source, name="arc", options=4, shared=False)
    told = {(m.prior_accuracy, m.reviewed) for m in methods(fpb, "smollm2", "70", None)}
    assert told == {(None, 0), (0.65, 0), (None, 30)}
    chance = {m.prior_accuracy for m in methods(arc, "scripted-chance", "70", None)}
    assert chance == {None, 0.25}
    for noise, rows in (("50", None), ("70", 700)):
        for experts in EXPERTS:
            assert {(m.prior_accuracy, m.reviewed) for m in methods(fpb, experts, noise, rows)} == {(None, 0)}


@pytest.mark.parametrize("noise", ["much", "101", "confused-30", "-30", "030"])
def test_a_noise_level_that_is_none_is_refused(noise: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        denoise.main(["--data", str(tmp_path), "--out", str(tmp_path), f"--noise={noise}"])
    assert "percent" in capsys.readouterr().err


def test_the_whole_grid_has_a_config_and_a_folder_for_every_cell(source: Source, tmp_path: Path) -> None:
    wanted = Namespace(
        rows=[None, 700], noise=denoise.NOISE, experts=EXPERTS, methods=KINDS, seeds=3, out=tmp_path, ledger=None
    )
    sources = [replace(source, name="fpb"), replace(source, name="arc", shared=False)]
    cells = list(denoise.grid(sources, wanted))
    assert len({cell.name for cell in cells}) == len(cells)
    assert {cell.noise for cell in cells if cell.rows} == {"30", "50"}
    assert {cell.experts for cell in cells if cell.method.kind in ("none", *BASELINES)} == {LABELS_ONLY}
    for cell in cells:
        config = config_of(order_of(cell, source, tmp_path))
        assert config.method == (cell.method.kind if cell.method.kind not in BASELINES else "none")
        assert config.llm.backend == ("local" if cell.experts == "smollm2" else "scripted")
        assert config.data.truth == "truth"


def order_of(cell: Cell, source: Source, folder: Path) -> Order:
    reviewed = folder / "reviewed.csv" if cell.method.reviewed else None
    return Order(cell, source, folder / "input.jsonl", "tfidf", folder, None, reviewed)


def test_a_cell_that_fails_does_not_stop_the_others(
    command: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(out, tmp_path / "cells")
    broken = tmp_path / "cells/shop-30-all-labels-none-0"
    shutil.rmtree(broken)
    broken.write_text("no folder", encoding="utf-8")
    again = [str(tmp_path / "cells") if word == str(out) else word for word in command]
    (tmp_path / "cells/shop-30-all-labels-probe-0" / CELL).unlink()
    assert denoise.main([*again[: again.index("--methods")], "--methods", "none", "probe"]) == 1
    said = capsys.readouterr().err
    assert "shop-30-all-labels-none-0 failed" in said
    assert (tmp_path / "cells/shop-30-all-labels-probe-0" / CELL).exists()


def test_out_of_fold_probabilities_are_of_the_rows_own_options() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 200)
    vectors = (np.eye(4)[label] + 0.3 * rng.standard_normal((200, 4))).astype(np.float32)
    counts = np.where(label < 2, rng.integers(2, 5, 200), 4)
    probs = out_of_fold(vectors, label, counts, seed=0)
    assert probs.sum(axis=1) == pytest.approx(1.0)
    assert not probs[np.arange(4) >= counts[:, None]].any()
    assert (probs.argmax(axis=1) == label).mean() > 0.8


WITH_CLEANLAB = pytest.param(
    "cleanlab", marks=pytest.mark.skipif(not CLEANLAB, reason='needs pip install "robustft[bench]"')
)


@pytest.mark.parametrize("kind", ["probe", WITH_CLEANLAB])
def test_baselines_find_wrong_labels_where_embeddings_tell_the_classes(kind: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    vectors = (np.eye(3)[truth] + 0.3 * rng.standard_normal((400, 3))).astype(np.float32)
    wrong = rng.random(400) < 0.3
    label = np.where(wrong, (truth + rng.integers(1, 3, 400)) % 3, truth)
    probs = out_of_fold(vectors, label, np.full(400, 3), seed=0)
    flags = flagged(kind, label, probs)
    assert wrong[flags.noisy].mean() > 0.85
    assert flags.noisy[wrong].mean() > 0.85
    assert flags.quality[wrong].mean() < flags.quality[~wrong].mean()
    assert flags.noise_rate is None or abs(flags.noise_rate - 0.3) < 0.1


@pytest.mark.skipif(not CLEANLAB, reason='needs pip install "robustft[bench]"')
def test_cleanlab_is_a_cell_like_the_others(command: list[str], out: Path) -> None:
    assert denoise.main([*command[: command.index("--methods")], "--methods", "cleanlab", "--seeds", "1"]) == 0
    run = RunDir(out / "shop-30-all-labels-cleanlab-0")
    figures = run.read_json(CELL)["figures"]
    assert figures["coverage"] == 1
    assert 0 < figures["noise_rate_estimate"] < 1
    changed = sum(d.response_final != d.response_given for d in list(run.load(Decision)))
    assert changed == run.read_json("metrics.json")["decisions"]["relabel"] > 0
