"""The trainer's steps as progress in rows, and its log as the loss curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robustft.engine.local import Progress


class Following(TrainerCallback):
    """Tells the progress of each step's rows; of a resumed run only those that are left.

    `tokens_before`: tokens that the run had seen before it was resumed.
    """

    def __init__(self, progress: Progress, rows: int, step: int) -> None:
        self._progress, self._rows, self._step = progress, rows, step
        self._done = 0
        self.tokens_before = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say how much there is to do."""
        self._done, self.tokens_before = self._after(state), state.num_input_tokens_seen
        if state.global_step:
            self._progress.note(f"training goes on after step {state.global_step} of {state.max_steps}")
        self._progress.start("train", self._rows - self._done)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step's rows."""
        before, self._done = self._done, self._after(state)
        self._progress.advance(self._done - before)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say that it is done."""
        self._progress.finish()

    def _after(self, state: TrainerState) -> int:
        return min(self._rows, int(state.global_step) * self._step)


def curve(log: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return the loss curve of a trainer's log: the mean loss since the point before, and the tokens seen so far."""
    return [
        {
            "step": entry["step"],
            "loss": entry["loss"],
            "lr": entry["learning_rate"],
            "tokens": entry["num_input_tokens_seen"],
        }
        for entry in log
        if "loss" in entry
    ]
