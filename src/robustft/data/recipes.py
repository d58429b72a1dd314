"""What the trainers are told: a LoRA config for LLaMA-Factory and for axolotl, a script for TRL.

Checked against LLaMA-Factory 0.9.5 (hparams/), axolotl 0.19 (utils/schemas/) and TRL 1.16. Only the last turn is
trained on, as `robustft train` does; axolotl can't be told, and trains on every turn of the assistant's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustft.config import TrainConfig
from robustft.data.formats import Shape, axolotl_entry, llamafactory_entry

HEAD = "# Written by robustft for "
LLAMAFACTORY, AXOLOTL, TRL = "llamafactory_lora.yaml", "axolotl.yaml", "train_trl.py"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how: a hub id or a folder, and the settings of `robustft train`."""

    model: str
    train: TrainConfig


def recipes(folder: Path, files: Sequence[tuple[Shape, Path]], recipe: Recipe) -> dict[Path, str]:
    """Return the recipes' files in `folder` with their text, for those training files that each trainer can load."""
    plain = [(shape, path) for shape, path in files if not shape.pairs]
    texts = {
        LLAMAFACTORY: _llamafactory(folder, plain, recipe),
        AXOLOTL: _axolotl(folder, plain, recipe),
        TRL: _trl(folder, plain, recipe),
    }
    return {folder / name: text for name, text in texts.items() if text is not None}


def _llamafactory(folder: Path, files: Sequence[tuple[Shape, Path]], recipe: Recipe) -> str | None:
    """Return the first file that LLaMA-Factory loads as its dataset; its template is read from the tokenizer."""
    names = [path.stem for shape, path in files if llamafactory_entry(shape, path.name) is not None]
    if not names:
        return None
    train = recipe.train
    settings = {
        "model_name_or_path": recipe.model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": train.rank,
        "lora_alpha": train.alpha,
        "lora_target": "all" if train.target == "all-linear" else ",".join(_names(train.target)),
        "dataset_dir": str(folder.resolve()),
        "dataset": names[0],
        "mask_history": True,
        "cutoff_len": train.max_length,
        "output_dir": str(folder.resolve().parent / "llamafactory"),
        "logging_steps": 1,
        "per_device_train_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulation,
        "learning_rate": train.lr,
        "lr_scheduler_type": _schedule(train),
        "warmup_ratio": train.warmup,
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "save_steps": train.checkpoint,
        "seed": train.seed or 0,
        "report_to": "none",
    } | ({"bf16": True} if train.dtype == "bfloat16" else {})
    rest = "" if train.dtype == "bfloat16" else "# bf16: true   # where the processor is fast at it, as GPUs are\n"
    return f"{HEAD}LLaMA-Factory: llamafactory-cli train {LLAMAFACTORY}\n{_yaml(settings)}{rest}"


def _axolotl(folder: Path, files: Sequence[tuple[Shape, Path]], recipe: Recipe) -> str:
    """Return one entry under `datasets`, those through the chat template first; the others behind a '#'."""
    found = [axolotl_entry(shape, path.resolve()) for shape, path in files]
    # its alpaca type has a prompt of its own, which isn't the one that the model is asked with
    ordered = sorted((entry for entry in found if entry is not None), key=lambda entry: entry["type"] == "alpaca")
    entries = [_yaml([entry]) for entry in ordered]
    commented = ["".join(f"# {line}" for line in entry.splitlines(keepends=True)) for entry in entries[1:]]
    train = recipe.train
    target = {"lora_target_linear": True}
    settings = {
        "base_model": recipe.model,
        "chat_template": "tokenizer_default",
        "train_on_inputs": False,
        "adapter": "lora",
        "lora_r": train.rank,
        "lora_alpha": train.alpha,
        **(target if train.target == "all-linear" else {"lora_target_modules": _names(train.target)}),
        "sequence_len": train.max_length,
        "micro_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulation,
        "gradient_checkpointing": train.gradient_checkpointing,
        "learning_rate": train.lr,
        "lr_scheduler": _schedule(train),
        "warmup_ratio": train.warmup,
        "optimizer": "adamw_torch",
        "num_epochs": train.epochs,
        **({"max_steps": train.max_steps} if train.max_steps else {}),
        "save_steps": train.checkpoint,
        "bf16": {"auto": "auto", "bfloat16": True, "float32": False}[train.dtype],
        "seed": train.seed or 0,
        "output_dir": str(folder.resolve().parent / "axolotl"),
    }
    datasets = "datasets:" + (" []\n" if not entries else "\n" + "".join([entries[0], *commented]))
    return f"{HEAD}axolotl. Every entry holds the same rows: keep one of them.\n{datasets}{_yaml(settings)}"


_CONVERSATIONS = {
    "messages": '{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}',
    "prompt-completion": '{"prompt": row["prompt"], "completion": row["completion"]}',
    "sharegpt": """{
        "prompt": [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversations"][:-1]],
        "completion": [{"role": "assistant", "content": row["conversations"][-1]["value"]}],
    }""",
}
_PLAIN = """{
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }"""
_ALPACA = """{
        "prompt": [{"role": "user", "content": "\\n".join(filter(None, (row["instruction"], row["input"])))}],
        "completion": [{"role": "assistant", "content": row["output"]}],
    }"""
_SCRIPT = '''"""The LoRA training of `robustft train`, as a script of TRL's own: change what you like."""

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

ROLES = {{"system": "system", "human": "user", "gpt": "assistant"}}


def conversation(row):
    return {conversation}


rows = load_dataset("json", data_files={file!r}, split="train")
rows = rows.map(conversation, remove_columns=rows.column_names)  # TRL trains on completions only
gpu = torch.cuda.is_available()
trainer = SFTTrainer(
    model={model!r},
    args=SFTConfig(
        output_dir={output!r},
        num_train_epochs={train.epochs},
        max_steps={max_steps},
        per_device_train_batch_size={train.batch_size},
        gradient_accumulation_steps={train.accumulation},
        gradient_checkpointing={train.gradient_checkpointing},
        learning_rate={train.lr},
        lr_scheduler_type={schedule!r},
        warmup_steps={train.warmup},
        max_length={train.max_length},
        train_sampling_strategy="group_by_length",
        bf16=gpu,
        use_cpu=not gpu,
        seed={seed},
        report_to="none",
    ),
    train_dataset=rows,
    peft_config=LoraConfig(
        r={train.rank}, lora_alpha={train.alpha}, target_modules={target!r}, task_type="CAUSAL_LM"
    ),
)
trainer.train()
trainer.save_model()
'''


def _trl(folder: Path, files: Sequence[tuple[Shape, Path]], recipe: Recipe) -> str | None:
    """Return a script for the first file whose rows it can turn into prompt and completion."""
    found = [(text, path) for shape, path in files if (text := _conversation(shape)) is not None]
    if not found:
        return None
    conversation, path = found[0]
    train = recipe.train
    script = _SCRIPT.format(
        conversation=conversation,
        file=str(path.resolve()),
        model=recipe.model,
        output=str(folder.resolve().parent / "trl"),
        train=train,
        max_steps=train.max_steps or -1,
        schedule=_schedule(train),
        seed=train.seed or 0,
        target=train.target if isinstance(train.target, str) else list(train.target),
    )
    return f"{HEAD}TRL: python {TRL}\n{script}"


def _conversation(shape: Shape) -> str | None:
    if shape.format == "alpaca":
        return None if shape.system or shape.history else _ALPACA
    return _PLAIN if shape.plain else _CONVERSATIONS[shape.format]


def _schedule(train: TrainConfig) -> str:
    return "constant_with_warmup" if train.schedule == "constant" else train.schedule


def _names(target: str | Sequence[str]) -> list[str]:
    return [target] if isinstance(target, str) else list(target)


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
