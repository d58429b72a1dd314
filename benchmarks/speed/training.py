"""Tokens a second of LoRA training: TRL as it comes, and with what `robustft train` changes.

    python -m benchmarks.speed.training --data RUN/export/train_messages.jsonl --steps 30

--data is a training file in one of the export formats, such as a finished run's. Prints a Markdown table. Every arm
trains the same rows with the same adapter in the same number format; its first two steps don't count, and tokens are
those of the rows, without padding. A machine that does something else meanwhile measures that as well.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.quality.machine import machine
from robustft.config import DataConfig, TrainConfig
from robustft.data.files import file_rows
from robustft.data.layouts import detect, to_turns
from robustft.data.train_rows import TrainRow
from robustft.llm.local.weights import pick_device
from robustft.train.lora import load
from robustft.train.order import order
from robustft.train.tokens import tokenise
from robustft.train.trainer import SCHEDULES, make_dataset, make_trainer, warmup_steps

NOT_COUNTED = 2
"""Steps at the start: memory is allocated, kernels are chosen."""
COLUMNS = DataConfig(question="-")  # no such column: the format is told from the others

Arm = Callable[[Sequence[TrainRow], TrainConfig, Path], Any]


@dataclass(frozen=True, slots=True)
class Speed:
    """What an arm did: tokens a second, and the mean loss of its steps."""

    name: str
    tokens_per_second: float
    loss: float


class Clock(TrainerCallback):
    """Counts the tokens and the time of the steps that count."""

    def __init__(self) -> None:
        self.tokens, self.seconds = 0, 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the step's clock."""
        self._before, self._started = state.num_input_tokens_seen, time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the step."""
        if state.global_step > NOT_COUNTED:
            self.tokens += state.num_input_tokens_seen - self._before
            self.seconds += time.perf_counter() - self._started


def measure(name: str, trainer: Any) -> Speed:
    """Train to the end."""
    clock = Clock()
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    result = trainer.train()
    return Speed(name, clock.tokens / clock.seconds, result.training_loss)


def ours(rows: Sequence[TrainRow], settings: TrainConfig, folder: Path) -> Any:
    """What `robustft train` runs."""
    loaded = load(settings)
    tokens = tokenise(rows, loaded.tokenizer, settings.max_length)
    places = order([len(row.input_ids) for row in tokens], settings.batch_size, 1, 0)
    return make_trainer(loaded, make_dataset(tokens, None, places), settings, folder)


def as_it_comes(**changes: Any) -> Arm:
    """Return TRL's defaults with these changes: the conversations as they are, in random order."""

    def arm(rows: Sequence[TrainRow], settings: TrainConfig, folder: Path) -> Any:
        from datasets import Dataset

        loaded = load(settings)
        conversations = [
            {"prompt": [*row.messages], "completion": [{"role": "assistant", "content": row.response}]} for row in rows
        ]
        arguments = SFTConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.lr,
            # not for speed: with another schedule the mean losses couldn't be compared
            lr_scheduler_type=SCHEDULES[settings.schedule],
            warmup_steps=warmup_steps(settings.warmup, math.ceil(len(rows) / settings.batch_size)),
            bf16=loaded.dtype == "bfloat16",
            use_cpu=pick_device("auto") == "cpu",
            include_num_input_tokens_seen="non_padding",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **changes,
        )
        lora = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        return SFTTrainer(
            loaded.model,
            args=arguments,
            train_dataset=Dataset.from_list(conversations),
            processing_class=loaded.tokenizer,
            peft_config=lora,
        )

    return arm


ARMS: dict[str, Arm] = {
    "TRL's defaults": as_it_comes(),
    "TRL, no gradient checkpointing": as_it_comes(gradient_checkpointing=False),
    "TRL, no gradient checkpointing, batches of like length": as_it_comes(
        gradient_checkpointing=False, train_sampling_strategy="group_by_length"
    ),
    "robustft train": ours,
}


def table(speeds: Sequence[Speed]) -> str:
    """Return the speeds as Markdown, each beside the first."""
    lines = ["| | tokens/s | times | mean loss |", "|---|---:|---:|---:|"]
    for speed in speeds:
        times = speed.tokens_per_second / speeds[0].tokens_per_second
        lines.append(f"| {speed.name} | {speed.tokens_per_second:.0f} | {times:.2f} | {speed.loss:.4f} |")
    return "\n".join(lines)


def training_file(path: Path, limit: int) -> list[TrainRow]:
    """Return the first rows of a training file in an export format."""
    rows = []
    for raw, _ in zip(file_rows(path), range(limit), strict=False):
        turns = to_turns(raw.values, detect(raw.values.keys(), COLUMNS), COLUMNS)
        rows.append(TrainRow(str(raw.number), turns.messages, turns.response or "", None, {}))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every arm, one after another in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    wanted = parser.parse_args(arguments)
    settings = TrainConfig(model=wanted.model, batch_size=wanted.batch, seed=0)
    rows = training_file(wanted.data, wanted.steps * wanted.batch)
    speeds = []
    for name, arm in ARMS.items():
        with tempfile.TemporaryDirectory() as folder:
            speeds.append(measure(name, arm(rows, settings, Path(folder))))
        gc.collect()
        sys.stderr.write(f"{name}: {speeds[-1].tokens_per_second:.0f} tokens/s\n")
    sys.stdout.write(f"{len(rows)} rows, batches of {wanted.batch}, {wanted.model}; {machine()}\n\n{table(speeds)}\n")


if __name__ == "__main__":
    main()
