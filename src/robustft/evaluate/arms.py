"""The arms of the experiment: what each of them trains on, as decisions over the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustft.config import POSTERIOR_ONLY, UNSET_EXPERTS, Arm, CompareConfig, Config
from robustft.detect.detect import make_panel
from robustft.errors import ConfigError
from robustft.loading import make_config, merge
from robustft.records import TRAINED_ON, Decision, Example, Outcome
from robustft.relabel.review import make_reviewer
from robustft.tasks.task import Task, given
from robustft.tasks.wording import Wording

CLEANING: tuple[Arm, ...] = ("paper", "posterior")
"""Arms that clean the rows by the method of their name."""


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
    wording = Wording.of(examples, task)
    return [_true(example, wording) for example in examples]


def arm_configs(config: Config, task: Task) -> dict[Arm, Config]:
    """Return the config of each arm that cleans. Raises ConfigError, also for what `make_panel` refuses."""
    settings = config.compare or CompareConfig()
    wanted = {"posterior" if arm == "random" else arm for arm in settings.arms}
    found: dict[Arm, Config] = {
        arm: arm_config(config, arm, settings.overrides.get(arm, {})) for arm in CLEANING if arm in wanted
    }
    for arm, own in found.items():
        try:
            make_panel(own, task)
            make_reviewer(own, task)
        except ConfigError as error:
            raise ConfigError(f"compare.overrides.{arm}: {error}") from None
    return found


def arm_config(config: Config, arm: Arm, overrides: dict[str, object]) -> Config:
    """Return the config by which an arm cleans; only its own keys differ. Raises ConfigError.

    Each method asks those of the experts that it can. Posterior adds the probe, which costs no call.
    """
    tree = config.model_dump(mode="json")
    if arm != "posterior":
        tree["experts"] = [name for name in config.experts if name not in POSTERIOR_ONLY] or UNSET_EXPERTS
    elif config.method != "posterior":
        tree["experts"] = ["probe", *(name for name in config.experts if name != "agent")]
    whole = {"method": arm, "evaluate": None, "compare": None, "report_to": "none"}
    tree["export"]["formats"] = []
    return make_config(merge(tree | whole, overrides), f"compare.overrides.{arm}")


def _true(example: Example, wording: Wording) -> Decision:
    task = wording.task
    value = None if example.truth is None else task.label(example.truth, example.options)
    own = given(example, task)
    if value is None:
        return _decided(example, "drop", None, "arm oracle: the truth isn't known")
    if own is not None and task.agree(own, value):
        return _decided(example, "keep", example.response, "arm oracle")
    # of an open question the truth itself is better than its normalised form
    text = wording.write(value, example) if example.options else example.truth
    return _decided(example, "relabel", text, "arm oracle")


def _decided(example: Example, outcome: Outcome, final: str | None, reason: str) -> Decision:
    return Decision(example.id, outcome, example.response, final, 1.0, reason)
