"""What a training run needs to know before it begins: its settings, with nothing left open."""

from __future__ import annotations

import os
from importlib.util import find_spec

from robustft.config import Config, TrainConfig
from robustft.errors import ConfigError
from robustft.records import Decision
from robustft.run import RunDir

LIBRARIES = ("torch", "transformers", "datasets", "peft", "trl")


def settled(config: Config) -> TrainConfig:
    """Return `config.train`, or the defaults where it is null, with the model and the seed filled in.

    Raises ConfigError where a library or the model's name is missing, where the method has no confidence to weight
    rows by, and where several GPUs are visible to one process.
    """
    given = config.train or TrainConfig()
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ConfigError(f'train needs {", ".join(missing)}: pip install "robustft[train]"')
    if given.model is None and config.llm.backend != "local":
        raise ConfigError("train.model: name the model to train, since llm.backend isn't local")
    if given.weight == "confidence" and config.method != "posterior":
        raise ConfigError(
            f"train.weight: confidence needs method: posterior; method {config.method} gives no probabilities"
        )
    _one_device()
    model = given.model or config.llm.model
    return given.model_copy(
        update={
            "model": model,
            "trust_remote_code": config.trusts(model),
            "seed": config.seed if given.seed is None else given.seed,
        }
    )


def confidences(run: RunDir, config: Config) -> dict[str, float] | None:
    """Return the probability that each row's final response is right; None where the run has no such probabilities.

    Methods but `posterior` have shares of votes, and where nothing is identified nobody knows whom to believe.
    """
    if config.method != "posterior" or not run.read_json("findings.json")["posterior"]["identified"]:
        return None
    return {decision.id: decision.confidence for decision in run.load(Decision)}


def world() -> tuple[int, int]:
    """Return this process's number and how many there are, as torchrun and `accelerate launch` tell them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _one_device() -> None:
    import torch

    if world()[1] == 1 and torch.cuda.device_count() > 1:
        raise ConfigError(
            "several GPUs are visible: `accelerate launch -m robustft train RUN` trains on all of them, "
            "CUDA_VISIBLE_DEVICES=0 leaves one"
        )
