"""Two runs at the same time: on one ledger both come to their end, in one folder the second is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import yaml

from support import write_moods


def start(config: Path, run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "robustft", "run", str(config), "-o", str(run)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def config_file(folder: Path, delay: float) -> Path:
    write_moods(folder / "d.csv", n=60)
    tree = {
        "data": {"path": "d.csv", "truth": "truth"},
        "llm": {"backend": "scripted", "concurrency": 8, "scripted": {"delay": delay}},
        "method": "paper",
        "embedder": "tfidf",
        "ledger": "ledger.sqlite",
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def calls(ledger: Path) -> int:
    with sqlite3.connect(ledger) as db:
        return int(db.execute("SELECT count(*) FROM calls").fetchone()[0])


def test_runs_that_share_a_ledger_come_to_the_same_end_as_one_alone(tmp_path: Path) -> None:
    config = config_file(tmp_path, delay=0.01)
    together = [start(config, tmp_path / name) for name in ("one", "other")]
    for run in together:
        said = run.communicate()[1]
        assert run.returncode == 0, said
    kept = calls(tmp_path / "ledger.sqlite")
    alone = start(config, tmp_path / "alone")
    alone.communicate()
    assert alone.returncode == 0
    assert calls(tmp_path / "ledger.sqlite") == kept  # all that it asks was there
    for name in ("decisions.parquet", "answers.parquet", "export/train_alpaca.jsonl"):
        assert len({(tmp_path / run / name).read_bytes() for run in ("one", "other", "alone")}) == 1


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_is_undisturbed(tmp_path: Path) -> None:
    config = config_file(tmp_path, delay=0.5)
    first = start(config, tmp_path / "run")
    while not (tmp_path / "run/config.yaml").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = start(config, tmp_path / "run")
    said = second.communicate()[1]
    assert second.returncode == 2
    where, way_out = f"robustft: {tmp_path / 'run'}: ", "wait for its end, or choose another folder"
    assert said.strip() == f"{where}another robustft is at work there; {way_out}"
    assert first.poll() is None
    said = first.communicate()[1]
    assert first.returncode == 0, said
    assert (tmp_path / "run/decisions.parquet").exists()
