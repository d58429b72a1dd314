"""TRL's trainer, made from our settings: the data in its order, the adapter, and no output of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback
from trl import SFTConfig

from robustft.config import TrainConfig
from robustft.errors import ConfigError
from robustft.llm.local.weights import Weights, pick_device
from robustft.train.loss import AnswerTrainer, weighted
from robustft.train.settings import world
from robustft.train.tokens import Tokens

POINTS = 200
"""Points of the loss curve, about."""
SHORT = 384
"""Tokens of the longest row up to which plain attention is no slower on a CPU, and its matrices fit in memory."""
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def make_dataset(tokens: Sequence[Tokens], weights: Mapping[str, float] | None, places: Sequence[int]) -> Dataset:
    """Return the rows at `places`, one after another, with their weights where there are any."""
    columns: dict[str, list[object]] = {
        "input_ids": [list(row.input_ids) for row in tokens],
        "labels": [list(row.labels) for row in tokens],
    }
    if weights is not None:
        columns["weight"] = [weights[row.id] for row in tokens]
    return Dataset.from_dict(columns).select(places)


def make_trainer(loaded: Weights, dataset: Dataset, settings: TrainConfig, folder: Path) -> AnswerTrainer:
    """Return a trainer that takes the rows of the dataset in their order, once, with its checkpoints in `folder`.

    Raises ConfigError for layers that the model doesn't have.
    """
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=settings.target if isinstance(settings.target, str) else list(settings.target),
        task_type="CAUSAL_LM",
    )
    _choose_attention(loaded, max(map(len, dataset["input_ids"])))
    steps = math.ceil(len(dataset) / rows_of_step(settings))
    try:
        trainer = AnswerTrainer(
            loaded.model,
            args=_arguments(settings, loaded.dtype, steps, folder),
            train_dataset=dataset,
            processing_class=loaded.tokenizer,
            peft_config=lora,
        )
    except ValueError as error:
        if "arget modules" in str(error):
            raise ConfigError(f"train.target: {settings.model} has no such layers: {settings.target}") from error
        raise
    if "weight" in dataset.column_names:
        trainer.data_collator = weighted(trainer.data_collator)
    trainer.remove_callback(PrinterCallback)
    return trainer


def rows_of_step(settings: TrainConfig) -> int:
    """Return the rows of one step, over all processes and accumulated passes."""
    return settings.batch_size * settings.accumulation * world()[1]


def warmup_steps(share: float, steps: int) -> int:
    """Return how many of the `steps` warm up; the first of these has a rate of 0, so that one step has none."""
    return min(math.ceil(share * steps), steps - 1)


def _choose_attention(loaded: Weights, longest: int) -> None:
    """Take transformers' plain attention for short rows in bfloat16 on a CPU.

    There the backward pass of torch's fused attention (2.13) takes twice as long as the plain one, a fourth of the
    whole step for rows of 100 tokens.
    """
    if pick_device("auto") == "cpu" and loaded.dtype == "bfloat16" and longest <= SHORT:
        loaded.model.set_attn_implementation("eager")


def _arguments(settings: TrainConfig, dtype: str, steps: int, folder: Path) -> SFTConfig:
    on_cpu = pick_device("auto") == "cpu"
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,  # the dataset holds them all
        train_sampling_strategy="sequential",
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.lr,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=warmup_steps(settings.warmup, steps),
        bf16=dtype == "bfloat16",
        gradient_checkpointing=settings.gradient_checkpointing,
        dataset_kwargs={"skip_prepare_dataset": True},  # the labels are there, cut to length
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=settings.checkpoint,
        save_total_limit=2,
        logging_steps=math.ceil(steps / POINTS),
        include_num_input_tokens_seen="non_padding",
        seed=settings.seed or 0,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        disable_tqdm=True,
    )
