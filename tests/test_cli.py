from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from robustft.cli.app import app
from robustft.config import Config
from robustft.loading import load_config
from robustft.template.everything import everything
from support import write_moods

BIN = [sys.executable, "-m", "robustft"]


def robustft(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*BIN, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def config_file(folder: Path, **more: object) -> Path:
    write_moods(folder / "d.csv")
    tree = {"data": {"path": "d.csv", "truth": "truth"}, "llm": {"backend": "scripted"}, "method": "paper"}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree | {"embedder": "tfidf", "ledger": "ledger.sqlite"} | more))
    return path


def test_a_run_from_file_to_report_and_back_to_one_row(tmp_path: Path) -> None:
    config, run = config_file(tmp_path), tmp_path / "run"
    done = robustft("run", config, "-o", run, "--set", "seed=1")
    assert "found noisy: precision, recall, F1" in done.stdout
    assert "detect: 60 rows" in done.stderr
    assert "detect: done, 60 rows" in done.stderr
    metrics = json.loads((run / "metrics.json").read_text())
    assert sum(metrics["decisions"].values()) == 60
    shown = robustft("explain", run, "r3").stdout
    for part in ("row r3", "given response:", "direct:", "reasoning:", "verdict:", "decision:"):
        assert part in shown
    assert "report.html" in robustft("report", run).stdout
    written = robustft("export", run, "--format", "sharegpt", "--format", "prompt-completion", "--preferences").stdout
    assert "train_sharegpt.jsonl" in written
    assert (run / "export/train_sharegpt.jsonl").exists()
    # nothing left to do: no stage is announced
    assert robustft("denoise", config, "-o", run, "--set", "seed=1").stderr == ""


def test_noise_is_planted_at_its_rate_and_the_truth_is_kept(tmp_path: Path) -> None:
    config = config_file(tmp_path, task={"kind": "choice"})
    out = tmp_path / "noisy.csv"
    said = robustft(
        "noise", tmp_path / "d.csv", out, "--rate", 0.4, "--seed", 3, "--task", config, "--truth-column", "was"
    ).stdout
    assert "24 of 60 responses are now wrong (symmetric, seed 3)" in said
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert sum(row["answer"] != row["was"] for row in rows) == 24


def test_an_audit_shows_what_the_run_made_of_planted_noise(tmp_path: Path) -> None:
    config, run = config_file(tmp_path), tmp_path / "run"
    done = robustft("audit", config, "-o", run, "--rate", 0.2, "--kind", "neighbour", "--set", "method=none")
    assert "12 of 60 responses made wrong (neighbour), method none" in done.stdout
    assert "0.0 % of 12 (0.0 to 24.2)" in done.stdout
    assert "warning: don't take the confidences for probabilities" in done.stdout
    assert json.loads((run / "audit-neighbour/audit.json").read_text())["planted"] == 12
    assert robustft("audit", config, "-o", run, "--kind", "truncated", code=2).stderr.count("\n") == 1


def test_a_plan_says_what_the_run_will_take(tmp_path: Path) -> None:
    config = config_file(tmp_path, llm={"backend": "scripted", "price": {"prompt": 0.5, "completion": 1.5}})
    said = robustft("plan", config, "--rows", 10**6, "--reads", 20000, "--writes", 5000, "--servers", 8)
    for part in ("1,000,000 rows, from a pilot of 50", "detect", "relabel", "together", "95 %: from", "at most", "MB"):
        assert part in said.stdout
    planned = json.loads(robustft("plan", config, "--json").stdout)
    assert planned["rows"] == 60
    assert planned["stages"]["detect"]["calls"]["expected"] == 120  # direct and reasoning
    assert "--reads, --writes: a server's speed needs both" in robustft("plan", config, "--reads", 9, code=2).stderr


def test_a_mistake_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    config, run = config_file(tmp_path), tmp_path / "run"
    cases: list[tuple[list[object], int, str]] = [
        (["run", tmp_path / "gone.yaml", "-o", run], 2, "robustft init"),
        (["run", config, "-o", run, "--set", "methd=x"], 2, "did you mean 'method'?"),
        (["run", config, "-o", run, "--set", "data.path=gone.csv"], 1, "gone.csv"),
        (["run", config, "-o", run, "--set", "data.question=nope"], 1, "question"),
        (["explain", tmp_path / "none", "r1"], 2, "not a run directory"),
        (["run", config], 2, "--out"),
        (["init", "nope"], 2, "no preset 'nope'"),
        (["init", "choise"], 2, "convfinqa; did you mean 'choice'?"),
        (["init", "fpb", "--from", tmp_path / "d.csv"], 2, "leave NAME out"),
        (["run", config, "-o", run, "--set", "method=papr"], 2, "did you mean 'paper'?"),
        (["run", config, "-o", run, "--set", "task=fbp"], 2, "did you mean 'fpb'?"),
        (["run", config, "-o", run, "--set", "data.response=answr"], 1, "did you mean 'answer'?"),
        (["run", config, "-o", run, "--set", "prompts.direct=hello"], 2, "missing slot"),
    ]
    for words, code, part in cases:
        done = robustft(*words, code=code)
        assert part in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
        if "--out" not in part:
            assert done.stderr.count("\n") == 1, done.stderr


def test_init_writes_the_defaults_with_their_documentation(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    robustft("init", "-o", path)
    assert load_config(path).model_dump() == Config().model_dump()
    assert "# The rows.\ndata:\n" in path.read_text()
    assert robustft("init", "-o", path, code=2).stderr.endswith("choose another name\n")
    assert "task: fpb" in robustft("init", "fpb").stdout
    assert "kind: number" in robustft("init", "number").stdout
    write_moods(tmp_path / "d.csv")
    other = tmp_path / "configs/mine.yaml"
    other.parent.mkdir()
    robustft("init", "--from", tmp_path / "d.csv", "-o", other)
    assert Path(str(load_config(other).data.path)).samefile(tmp_path / "d.csv")
    assert load_config(other).data.options == "options"
    assert yaml.safe_load(everything())["paper"]["neighbours"] == 3


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("robustft de", {"denoise"}),
        ("robustft init nu", {"number"}),
        ("robustft run c.yaml --set llm.price", {"llm.price=", "llm.price.prompt=", "llm.price.completion="}),
    ],
)
def test_a_shell_is_told_how_words_go_on(words: str, offered: set[str]) -> None:
    told = {"_ROBUSTFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = CliRunner().invoke(app, [], prog_name="robustft", env=told)
    assert set(done.stdout.split()) == offered


def test_version_and_help() -> None:
    assert robustft("--version").stdout.startswith("robustft 0.")
    assert "denoise" in robustft("--help").stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "('torch', 'transformers', 'datasets', 'ray')"
    code = f"import sys, robustft, robustft.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
