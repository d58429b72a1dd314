"""What a question is: rendering it, reading answers, comparing them."""

from __future__ import annotations

from robustft.config import TaskConfig
from robustft.errors import ConfigError
from robustft.tasks.choice import ChoiceTask
from robustft.tasks.number import NumberTask
from robustft.tasks.short import ShortTask
from robustft.tasks.task import Task


def make_task(config: TaskConfig) -> Task:
    """Return the task that a config describes.

    Raises ConfigError for options that can't be told apart, or that the kind doesn't have.
    """
    if config.options and config.kind != "choice":
        raise ConfigError(f"task.options: a {config.kind} task has none; drop the key or set kind: choice")
    folded = [option.strip().casefold() for option in config.options]
    if "" in folded or len(folded) == 1:
        raise ConfigError("task.options: give at least two options, none of them empty")
    if twice := next((option for i, option in enumerate(config.options) if folded[i] in folded[:i]), None):
        raise ConfigError(f"task.options: '{twice}' is there twice")
    if config.kind == "choice":
        return ChoiceTask(config.options, config.instruction)
    if config.kind == "number":
        return NumberTask(config.tolerance, config.instruction)
    return ShortTask(config.instruction)
