"""The arms of the experiment: what each of them trains on, as decisions over the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustft.config import POSTERIOR_ONLY, Arm, Config
from robustft.loading import make_config, merge
from robustft.records import TRAINED_ON, Decision, Example, Outcome
from robustft.tasks.task import Task, given


def as_given(examples: Sequence[Example]) -> list[Decision]:
    """Keep every row that has a response."""
    return [
        _decided(example, "drop" if example.response is None else "keep", example.response, "arm none")
        for example in examples
    ]


def drawn(examples: Sequence[Example], like: Sequence[Decision], seed: int) -> list[Decision]:
    """Keep as many of the given rows as `like` trains on, drawn without regard to anything; all where it's more."""
    labelled = np.flatnonzero([example.response is not None for example in examples])
    wanted = min(len(labelled), sum(decision.decision in TRAINED_ON for decision in like))
    taken = set(np.random.default_rng(seed).choice(labelled, wanted, replace=False).tolist())
    return [
        _decided(example, "keep" if place in taken else "drop", example.response, "arm random")
        for place, example in enumerate(examples)
    ]


def as_true(examples: Sequence[Example], task: Task) -> list[Decision]:
    """Train on the true response of every row that has one, in the form of the given one."""
    return [_true(example, task) for example in examples]


def arm_config(config: Config, arm: Arm, overrides: dict[str, object]) -> Config:
    """Return the config by which an arm cleans; only its own keys differ, nothing is trained. Raises ConfigError."""
    tree = config.model_dump(mode="json")
    if arm != "posterior":
        tree["experts"] = [name for name in config.experts if name not in POSTERIOR_ONLY] or ["direct", "reasoning"]
    whole = {"method": arm, "train": None, "evaluate": None, "compare": None, "report_to": "none"}
    tree["export"]["formats"] = []
    return make_config(merge(tree | whole, overrides), f"compare.overrides.{arm}")


def _true(example: Example, task: Task) -> Decision:
    value = None if example.truth is None else task.label(example.truth, example.options)
    own = given(example, task)
    if value is None:
        return _decided(example, "drop", None, "arm oracle: the truth isn't known")
    if own is not None and task.agree(own, value):
        return _decided(example, "keep", example.response, "arm oracle")
    # of an open question the truth itself is better than its normalised form
    text = task.write(value, example.response, example.options) if example.options else example.truth
    return _decided(example, "relabel", text, "arm oracle")


def _decided(example: Example, outcome: Outcome, final: str | None, reason: str) -> Decision:
    return Decision(example.id, outcome, example.response, final, 1.0, reason)
