"""What a stage that asks models is given to work on: the rows, what a person knows of them, and whom it may ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from robustft.config import Config
from robustft.engine.local import Progress
from robustft.llm.client import LLM
from robustft.llm.embedder import Embedder
from robustft.records import Example
from robustft.tasks.task import Task

if TYPE_CHECKING:
    from robustft.engine.ray import Cluster


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """The rows and the models, which are opened when they are first asked for.

    `reviewed`: the true value of the rows that a person has looked at, by id. `folder` has room for what is said until
    the stage ends. `cluster`: the machines that models are asked on, None for this one.
    """

    examples: Sequence[Example]
    config: Config
    task: Task
    open_llm: Callable[[], Awaitable[LLM]]
    open_embedder: Callable[[], Awaitable[Embedder]]
    progress: Progress
    reviewed: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    cluster: Cluster | None = None
