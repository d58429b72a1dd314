"""Memory that training leaves in pieces, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

EVERY = 10
"""Steps from one time to the next; a time takes some tenths of a second."""


class Returning(TrainerCallback):
    """Has the C library give back what it holds and nobody uses.

    On a CPU a batch of another length needs tensors of other sizes, and glibc keeps the gaps that the last ones left: a
    training then holds several times as much as it uses. Elsewhere nothing is done.
    """

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Do so now and then."""
        if self._trim is not None and state.global_step % EVERY == 0:
            self._trim(0)
