from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustft.terminal.summary import next_steps


@pytest.mark.parametrize(
    ("identified", "target", "said"),
    [
        (False, {"reached": False, "lowered": False}, "nothing was changed"),
        (True, {"reached": False, "lowered": True}, "not reached for sure"),
        (True, {"reached": True, "lowered": True}, "set target_accuracy: 0.95"),
    ],
)
def test_says_first_what_the_posterior_leaves_to_do(identified: bool, target: dict[str, Any], said: str) -> None:
    metrics = {
        "unanswered": {"error": 0, "unasked": 0},
        "posterior": {"identified": identified, "target": target},
        "decisions": {"review": 0},
        "training": {"rows": 60},
    }
    (step,) = next_steps(metrics, Path("run"))
    assert said in step


def test_a_target_that_is_held_and_reached_leaves_nothing_to_do() -> None:
    metrics = {
        "unanswered": {"error": 0, "unasked": 0},
        "posterior": {"identified": True, "target": {"reached": True, "lowered": False}},
        "decisions": {"review": 0},
        "training": {"rows": 60},
    }
    assert next_steps(metrics, Path("run")) == []
