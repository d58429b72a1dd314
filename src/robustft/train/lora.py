"""LoRA training: TRL's SFTTrainer and PEFT on the rows of a run, resumed from its own checkpoints."""

from __future__ import annotations

import gc
import hashlib
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from robustft import __version__
from robustft.config import LLMConfig, TrainConfig
from robustft.data.train_rows import TrainRow
from robustft.engine.local import Progress, Silent
from robustft.errors import ConfigError
from robustft.run import fingerprint, write_atomically
from robustft.train.checkpoints import keep_only, newest
from robustft.train.order import order
from robustft.train.settings import world
from robustft.train.tokens import Tokens, count, tokenise, told

if TYPE_CHECKING:
    from robustft.llm.local.weights import Weights


def train(
    rows: Sequence[TrainRow],
    settings: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
    confidences: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Train an adapter on the rows. Returns what `folder/training.json` holds; docs/training.md explains it.

    `settings` are those that `settled` returns. `confidences`, by row in [0, 1], are the rows' weights unless
    `settings.weight` is none. Writes `folder/adapter` (PEFT, safetensors, with the tokenizer) and
    `folder/training.json`. The same call again resumes from the last checkpoint, and does nothing where all is done.
    Under `accelerate launch` every process calls it, and the first one writes. Raises RobustFTError.
    """
    number, _ = world()
    progress = progress if progress is not None and number == 0 else Silent()
    weights = _weights(rows, settings, confidences)
    facts: dict[str, Any] = {
        "key": training_key(rows, settings, confidences),
        "data": data_key(rows),
        "settings": settings.model_dump(mode="json"),
    }
    if is_trained(folder, facts["key"]):
        return read_training(folder)
    loaded = load(settings)
    tokens = tokenise(rows, loaded.tokenizer, settings.max_length)
    facts["tokens"] = check(tokens, loaded)
    for line in told(facts["tokens"]):
        progress.note(line)
    place = folder / "checkpoints" / facts["key"][:16]
    if number == 0:
        _write(folder, facts)
        keep_only(place)
    facts |= _run(loaded, tokens, weights, settings, place, progress)
    gc.collect()  # the trainer and the model hold each other, and another training may follow
    if number == 0:
        _install(place / "adapter", folder / "adapter")
        _write(folder, facts)
        shutil.rmtree(place.parent)
    return facts


def training_key(rows: Sequence[TrainRow], settings: TrainConfig, confidences: Mapping[str, float] | None) -> str:
    """Return a digest of all that makes an adapter what it is. Raises ConfigError as `train` does."""
    weights = _weights(rows, settings, confidences)
    return fingerprint(__version__, settings.model_dump(mode="json"), world()[1], data_key(rows), weights)


def is_trained(folder: Path, key: str) -> bool:
    """Whether the training with this key has ended in the folder, and its adapter is there."""
    facts = read_training(folder)
    return facts.get("key") == key and "curve" in facts and (folder / "adapter").is_dir()


def data_key(rows: Iterable[TrainRow]) -> str:
    """Return a digest of what is trained on: the rows' ids, turns and responses, in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(orjson.dumps((row.id, row.messages, row.response)) + b"\n")
    return digest.hexdigest()


def read_training(folder: Path) -> dict[str, Any]:
    """Return what `folder/training.json` holds; {} where there is none. It has a `curve` once training has ended."""
    path = folder / "training.json"
    return dict(orjson.loads(path.read_bytes())) if path.exists() else {}


def load(settings: TrainConfig) -> Weights:
    """Load the model to train, in memory: the trainer moves it to its device. Raises ConfigError."""
    from robustft.llm.local import weights

    dtype = str(weights.pick_dtype(settings.dtype, weights.pick_device("auto"))).removeprefix("torch.")
    own = {"model": settings.model, "dtype": dtype, "trust_remote_code": settings.trust_remote_code}
    try:
        return weights.load(LLMConfig.model_validate(own | {"device": "cpu"}))
    except ConfigError as error:
        raise ConfigError(f"train.model: {str(error).removeprefix('llm.model: ')}") from error


def check(tokens: Sequence[Tokens], loaded: Weights) -> dict[str, Any]:
    """Return what `count` finds, with the tokens at which the model stops. Raises DataError, ConfigError."""
    from robustft.llm.local.weights import end_tokens

    return count(tokens, end_tokens(loaded), loaded.tokenizer)


def _weights(
    rows: Sequence[TrainRow], settings: TrainConfig, confidences: Mapping[str, float] | None
) -> dict[str, float] | None:
    if settings.weight == "none" or (settings.weight == "auto" and confidences is None):
        return None
    if confidences is None:
        raise ConfigError("train.weight: nothing is identified, so that no row has a confidence; set it to auto")
    return {row.id: confidences[row.id] for row in rows}


def _run(
    loaded: Weights,
    tokens: Sequence[Tokens],
    weights: Mapping[str, float] | None,
    settings: TrainConfig,
    place: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train, and leave the adapter in `place`. Returns what came of it."""
    from robustft.llm.local.weights import quiet
    from robustft.train.following import Following, curve
    from robustft.train.memory import Returning
    from robustft.train.trainer import make_dataset, make_trainer, rows_of_step

    step = rows_of_step(settings)
    places = order([len(row.input_ids) for row in tokens], step, settings.epochs, settings.seed or 0)
    places = places[: (settings.max_steps or len(places)) * step]
    following = Following(progress, len(places), step)
    checkpoint = newest(place)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the libraries, about each other
        trainer = make_trainer(loaded, make_dataset(tokens, weights, places), settings, place)
        trainer.add_callback(following)
        trainer.add_callback(Returning())
        trained = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.save_model(str(place / "adapter"))
    seconds = max(trained.metrics["train_runtime"], 1e-3)
    return {
        "dtype": loaded.dtype,
        "device": str(trainer.args.device),
        "processes": world()[1],
        "steps": trainer.state.global_step,
        "seconds": round(seconds, 1),
        "tokens_per_second": round((trainer.state.num_input_tokens_seen - following.tokens_before) / seconds, 1),
        "curve": curve(trainer.state.log_history),
    }


def _install(made: Path, adapter: Path) -> None:
    """Put the finished adapter in its place, without the trainer's pickled arguments."""
    (made / "training_args.bin").unlink(missing_ok=True)
    if adapter.is_dir():
        shutil.rmtree(adapter)
    made.rename(adapter)


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    content = orjson.dumps(facts, option=orjson.OPT_INDENT_2)
    write_atomically(folder / "training.json", lambda path: path.write_bytes(content))
