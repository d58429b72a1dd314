"""Each tracker's own library, offline: told, and read back."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from robustft.errors import ConfigError
from robustft.pipeline import denoise
from robustft.report import trackers
from robustft.report.trackers import figures, refuse_missing
from robustft.run import RunDir
from support import MakeConfig, Notes, write_moods


def test_figures_are_the_numbers_with_their_paths() -> None:
    metrics = {"n": 60, "method": "paper", "decisions": {"keep": 40}, "posterior": {"target": {"reached": True}}}
    assert dict(figures(metrics)) == {"n": 60.0, "decisions/keep": 40.0, "posterior/target/reached": 1.0}


async def test_mlflow_has_the_figures_and_the_report(
    make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "ml").as_uri())
    metrics = await denoise(make(write_moods(tmp_path / "d.csv"), report_to="mlflow"), tmp_path / "run")
    found = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("robustft").experiment_id])
    assert [run.info.run_name for run in found] == ["run"]
    assert found[0].data.metrics["decisions/keep"] == metrics["decisions"]["keep"]
    kept = {item.path for item in mlflow.MlflowClient().list_artifacts(found[0].info.run_id)}
    assert kept == {"config.yaml", "report.html"}


async def test_wandb_has_a_run_to_sync(make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    notes = Notes()
    config = make(write_moods(tmp_path / "d.csv"), report_to="wandb", offline=True)
    await denoise(config, tmp_path / "run", progress=notes)
    assert not [line for line in notes.lines if "not told" in line]
    (log,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"decisions/keep" in log.read_bytes()


async def test_trackio_has_the_figures(make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    for name, module in list(sys.modules.items()):  # each keeps its own from when it was imported
        if name.startswith("trackio.") and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    notes = Notes()
    await denoise(make(write_moods(tmp_path / "d.csv"), report_to="trackio"), tmp_path / "run", progress=notes)
    assert not [line for line in notes.lines if "not told" in line]
    with sqlite3.connect(tmp_path / "trackio/robustft.db") as store:
        (logged,) = store.execute("SELECT metrics FROM metrics").fetchall()
    assert '"decisions/keep"' in str(logged[0])


async def test_a_tracker_that_fails_is_a_note_and_the_run_is_whole(
    make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(told: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", fail)
    notes = Notes()
    config = make(write_moods(tmp_path / "d.csv"), report_to="wandb")
    assert (await denoise(config, tmp_path / "run", progress=notes))["n"] == 60
    said = [line for line in notes.lines if "not told" in line]
    assert said == [f"wandb was not told (no route to host); `robustft report {tmp_path / 'run'}` tries again"]


async def test_telling_another_does_nothing_else_again(
    make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", told.append)
    file = write_moods(tmp_path / "d.csv")
    await denoise(make(file), tmp_path / "run")
    before = RunDir(tmp_path / "run").read_json("stages.json")
    await denoise(make(file, report_to="mlflow"), tmp_path / "run")
    after = RunDir(tmp_path / "run").read_json("stages.json")
    assert {name for name in after if after[name] != before[name]} == {"report"}
    assert len(told) == 1


def test_a_tracker_that_is_not_installed_is_refused_at_once(
    make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        refuse_missing(make(tmp_path / "d.csv", report_to="wandb"))
