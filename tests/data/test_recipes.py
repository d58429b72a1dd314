from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from robustft.config import Format, TrainConfig
from robustft.data.formats import Shape
from robustft.data.recipes import Recipe, recipes

FOLDER = Path("/runs/one/export")
ALL: tuple[Format, ...] = ("alpaca", "sharegpt", "messages", "prompt-completion")


ASKED = {"role": "user", "content": "Why?"}
SAID = {"role": "assistant", "content": "so"}


def made(*shapes: Shape, **settings: Any) -> dict[str, str]:
    """Return {name: text} of the recipes for files of these shapes."""
    files = [(shape, FOLDER / f"train_{shape.format}.jsonl") for shape in shapes]
    found = recipes(FOLDER, files, Recipe("org/model", TrainConfig(**settings)))
    return {path.name: text for path, text in found.items()}


def test_llamafactory_trains_as_we_do() -> None:
    text = made(*map(Shape, ALL), epochs=3, rank=8, batch_size=4, accumulation=2, seed=5)["llamafactory_lora.yaml"]
    found = yaml.safe_load(text)
    assert found["model_name_or_path"] == "org/model"
    assert (found["dataset_dir"], found["dataset"]) == ("/runs/one/export", "train_alpaca")
    assert (found["lora_rank"], found["lora_alpha"], found["lora_target"]) == (8, 32, "all")
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == (4, 2)
    assert (found["num_train_epochs"], found["learning_rate"], found["seed"]) == (3, 1e-4, 5)
    assert found["mask_history"]
    assert "template" not in found  # the tokenizer's own
    assert "bf16" not in found
    assert yaml.safe_load(made(Shape("messages"), dtype="bfloat16")["llamafactory_lora.yaml"])["bf16"] is True
    named = yaml.safe_load(made(Shape("messages"), target=("q_proj", "v_proj"))["llamafactory_lora.yaml"])
    assert named["lora_target"] == "q_proj,v_proj"


def test_llamafactory_takes_the_first_file_that_it_can_load() -> None:
    lists, messages = Shape("prompt-completion"), Shape("messages")
    assert yaml.safe_load(made(lists, messages)["llamafactory_lora.yaml"])["dataset"] == "train_messages"
    assert "llamafactory_lora.yaml" not in made(lists)
    assert "llamafactory_lora.yaml" not in made(Shape("alpaca", pairs=True))


def test_axolotl_has_one_entry_that_counts() -> None:
    text = made(*map(Shape, ALL))["axolotl.yaml"]
    found = yaml.safe_load(text)
    assert found["datasets"] == [
        {
            "path": str(FOLDER / "train_sharegpt.jsonl"),
            "ds_type": "json",
            "type": "chat_template",
            "field_messages": "conversations",
            "message_property_mappings": {"role": "from", "content": "value"},
        }
    ]
    assert (found["base_model"], found["adapter"], found["lora_r"], found["lora_target_linear"]) == (
        "org/model",
        "lora",
        16,
        True,
    )
    entries = text.partition("datasets:\n")[2].partition("base_model")[0]
    uncommented = yaml.safe_load("\n".join(line.removeprefix("# ") for line in entries.splitlines()))
    # its alpaca type asks otherwise than the model's chat template, so it comes last
    assert [entry["type"] for entry in uncommented] == ["chat_template", "chat_template", "alpaca"]
    assert yaml.safe_load(made(Shape("prompt-completion"))["axolotl.yaml"])["datasets"] == []


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        (Shape("messages"), {"messages": [ASKED, SAID]}),
        (Shape("sharegpt"), {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "so"}]}),
        (Shape("alpaca"), {"instruction": "Why?", "input": "", "output": "so"}),
        (Shape("prompt-completion", plain=True), {"prompt": "Why?", "completion": "so"}),
        (Shape("prompt-completion"), {"prompt": [ASKED], "completion": [SAID]}),
    ],
)
def test_the_trl_script_turns_each_format_into_a_conversation(shape: Shape, row: dict[str, Any]) -> None:
    script = made(shape)["train_trl.py"]
    compile(script, "train_trl.py", "exec")
    start, end = script.index("ROLES ="), script.index("rows = load_dataset")
    names: dict[str, Any] = {}
    exec(script[start:end], names)
    assert names["conversation"](row) == {"prompt": [ASKED], "completion": [SAID]}


def test_the_trl_script_skips_what_it_would_lose() -> None:
    system = Shape("alpaca", system=True)
    assert "train_trl.py" not in made(system)
    assert "train_messages.jsonl" in made(system, Shape("messages"))["train_trl.py"]
