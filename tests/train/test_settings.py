from __future__ import annotations

from pathlib import Path

import pytest

from robustft.config import Config, TrainConfig
from robustft.errors import ConfigError
from robustft.evaluate.evaluate import base_model
from robustft.loading import make_config
from robustft.train import settings as module
from robustft.train.settings import settled, world

pytest.importorskip("trl", reason='training needs pip install "robustft[train]"')


def test_nothing_is_left_open() -> None:
    found = settled(make_config({"seed": 7}))
    assert (found.model, found.seed) == ("smollm2", 7)
    found = settled(make_config({"seed": 7, "train": {"model": "org/model", "seed": 0, "rank": 4}}))
    assert (found.model, found.seed, found.rank) == ("org/model", 0, 4)


def test_code_of_the_hub_is_run_where_somebody_said_so_of_this_model() -> None:
    llm = {"model": "org/own", "trust_remote_code": True}
    assert settled(make_config({"llm": llm})).trust_remote_code
    assert not settled(make_config({"llm": llm, "train": {"model": "org/other"}})).trust_remote_code
    other = {"model": "org/other", "trust_remote_code": True}
    assert settled(make_config({"train": other})).trust_remote_code
    assert not settled(make_config({})).trust_remote_code
    # nor is another model trusted when it is evaluated, for the sake of the one that cleans
    config = make_config({"llm": llm, "evaluate": {"path": "test.csv"}})
    assert base_model(config, "org/own").trust_remote_code
    assert not base_model(config, "org/other").trust_remote_code


def test_train_with_braces_trains_with_the_defaults() -> None:
    assert Config().train is None
    assert make_config({"train": {}}).train == TrainConfig()


def test_a_model_must_be_named_where_no_local_one_answers() -> None:
    config = make_config({"llm": {"backend": "openai", "model": "gpt"}, "train": {}})
    with pytest.raises(ConfigError, match=r"train\.model: name the model to train"):
        settled(config)


def test_confidence_needs_a_method_that_has_one() -> None:
    tree = {"train": {"weight": "confidence"}}
    assert settled(make_config(tree)).weight == "confidence"
    with pytest.raises(ConfigError, match=r"train\.weight: confidence needs method: posterior; method paper gives"):
        settled(make_config(tree | {"method": "paper"}))


def test_missing_libraries_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIBRARIES", ("torch", "no_such_library"))
    with pytest.raises(ConfigError, match=r'train needs no_such_library: pip install "robustft\[train\]"'):
        settled(Config())


def test_several_gpus_need_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match="accelerate launch -m robustft train RUN"):
        settled(Config())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert settled(Config()).model == "smollm2"
    assert world() == (1, 2)


def test_the_package_is_light(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, robustft.outputs; print([n for n in ('torch', 'trl', 'transformers') if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
