from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from robustft.config import Config, TaskConfig
from robustft.errors import ConfigError
from robustft.loading import load_config
from robustft.records import Example, Message
from robustft.tasks import make_task
from robustft.tasks.presets import PRESETS, _preset
from robustft.tasks.task import Task

EXAMPLES = Path(__file__).parents[2] / "examples"
KINDS = {"convfinqa": "number", "drop": "short"}


def test_the_eight_tasks_are_there() -> None:
    assert set(PRESETS) == {"arc", "drop", "fpb", "mmlu", "pubmedqa", "mmlu_pro", "usmle", "convfinqa"}


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_a_config(name: str) -> None:
    config = Config.model_validate(PRESETS[name])
    assert config.task.kind == KINDS.get(name, "choice")
    assert config.task.instruction
    assert config.task.target == "Answer: {answer}"
    assert config.data.path == f"hf://luojunyu/RobustFT/{name}/noisy30"
    assert config.data.truth is None


def test_a_preset_is_a_part_of_a_config() -> None:
    task = {"kind": "number", "instruction": "Count.", "target": "Answer: {answer}"}
    data = {"path": "hf://luojunyu/RobustFT/sums/noisy30", "question": "question", "response": "answer"}
    assert _preset("sums", "number", "Count.") == {"task": task, "data": data}
    options = {"options": "options"}
    assert _preset("sums", "choice", "Count.") == {"task": task | {"kind": "choice"}, "data": data | options}


def test_fpb_does_not_map_the_leaked_truth() -> None:
    assert "gt" not in PRESETS["fpb"]["data"].values()


# small models score, and the probe is asked where all rows have the same options
EXPERTS = {"fpb": ("probe", "likelihood"), "arc": ("likelihood",), "pubmedqa": ("probe", "direct", "reasoning")}


@pytest.mark.parametrize("name", PRESETS)
def test_example_loads_and_takes_a_file_of_ones_own(name: str) -> None:
    config = load_config(EXAMPLES / f"{name}.yaml", ["data.path=mine.csv"], PRESETS)
    assert config.task.preset == name
    assert config.data.path == "mine.csv"
    assert config.task.instruction == PRESETS[name]["task"]["instruction"]
    assert config.method == "posterior"
    local = name in {"fpb", "arc"}
    assert config.llm.backend == ("local" if local else "openai")
    assert config.experts == EXPERTS.get(name, ("direct", "reasoning"))
    make_task(config.task)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TaskConfig(kind="number", options=("a", "b")), "a number task has none"),
        (TaskConfig(options=("a",)), "at least two"),
        (TaskConfig(options=("a", " ")), "none of them empty"),
        (TaskConfig(options=("Yes", "no", "yes")), "'yes' is there twice"),
    ],
)
def test_options_that_make_no_sense_are_refused(config: TaskConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(config)


def test_two_options_are_as_few_as_there_may_be() -> None:
    assert make_task(TaskConfig(options=("a", "b"))).options == ("a", "b")
    assert make_task(TaskConfig(instruction="Judge.")).options == ()


@pytest.mark.parametrize("kind", ["choice", "number", "short"])
def test_every_kind_is_asked_with_its_instruction(kind: str) -> None:
    task = make_task(TaskConfig.model_validate({"kind": kind, "instruction": "Do as you are told."}))
    asked = task.render(Example("r", (Message(role="user", content="What?"),), None))
    assert asked == [Message(role="user", content="Do as you are told.\n\nWhat?")]


def test_make_task_passes_the_config_on() -> None:
    assert make_task(TaskConfig(kind="number", tolerance=0.1)).agree("100", "109")
    assert make_task(TaskConfig(options=("no", "yes"))).options == ("no", "yes")
    assert make_task(TaskConfig(kind="short")).answer_form.startswith("one word")


def test_the_task_of_the_docs_is_a_task(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "colours.py"
    path.write_text(code, encoding="utf-8")
    spec = spec_from_file_location("colours", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["colours"] = module
    spec.loader.exec_module(module)
    task: Task = module.ColourTask()
    assert task.extract("It is #1E90FF.") == "#1e90ff"
    assert task.extract("#1e90ff or #000000") is None
    assert {name for name in vars(Task) if not name.startswith("_")} <= set(dir(task))
    assert task.label(task.write("#1e90ff", None)) == "#1e90ff"
