from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from robustft.train.memory import EVERY, Returning

if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
    pytest.skip("the C library isn't glibc", allow_module_level=True)


def held() -> int:
    """Return the memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 10**6


def test_gaps_between_tensors_are_given_back(tmp_path: Path) -> None:
    arguments, control, callback = TrainingArguments(output_dir=str(tmp_path)), TrainerControl(), Returning()
    tensors = [torch.ones(25_000) for _ in range(4_000)]
    kept = tensors[::50]
    del tensors
    before = held()
    callback.on_step_end(arguments, TrainerState(global_step=EVERY + 1), control)
    assert held() > before - 10
    callback.on_step_end(arguments, TrainerState(global_step=2 * EVERY), control)
    assert held() < before - 200
    assert all(tensor.sum() == 25_000 for tensor in kept)
