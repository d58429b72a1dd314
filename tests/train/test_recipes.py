"""The recipes of an export, taken up by the trainers themselves."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from robustft.config import ExportConfig, TrainConfig
from robustft.data.exports import write_exports
from robustft.data.recipes import LLAMAFACTORY, TRL, Recipe
from robustft.train.tokens import tokenise
from train.tiny import moods, save_tiny

CLI = os.environ.get("LLAMAFACTORY_CLI") or shutil.which("llamafactory-cli")
SETTINGS = TrainConfig(max_steps=2, batch_size=4, rank=4)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export directory beside the model that its recipes name."""
    recipe = Recipe(str(save_tiny(tmp_path / "model")), SETTINGS)
    write_exports(tmp_path / "export", moods(8), ExportConfig(), "train", recipe)
    return tmp_path / "export"


def run(*command: str | Path) -> str:
    """Run a command to its end; return what it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_trl_script_trains(export: Path) -> None:
    run(sys.executable, export / TRL)
    made = json.loads((export.parent / "trl" / "adapter_config.json").read_text())
    assert made["r"] == 4
    assert (export.parent / "trl" / "adapter_model.safetensors").exists()


@pytest.mark.skipif(CLI is None, reason="no llamafactory-cli, which LLAMAFACTORY_CLI may name")
def test_llamafactory_trains_on_our_tokens(export: Path) -> None:
    said = run(*shlex.split(str(CLI)), "train", export / LLAMAFACTORY)
    shown: dict[str, Any] = {
        name: json.loads(re.findall(rf"^{name}:\n(\[.*\])", said, re.MULTILINE)[0])
        for name in ("input_ids", "label_ids")
    }
    (first,) = tokenise(moods(1), AutoTokenizer.from_pretrained(export.parent / "model"), 1024)
    assert shown == {"input_ids": list(first.input_ids), "label_ids": list(first.labels)}
    assert (export.parent / "llamafactory" / "adapter_model.safetensors").exists()
