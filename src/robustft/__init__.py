"""Noise-robust supervised fine-tuning: find wrong responses in a training set, mend them, prove that it helped."""

from __future__ import annotations

import os
from importlib.metadata import version

from robustft.api import Result, denoise
from robustft.config import Config
from robustft.errors import ConfigError, DataError, ModelError, RobustFTError
from robustft.loading import load_config, make_config
from robustft.offline import NO_TELEMETRY
from robustft.records import Answer, Decision, Example, Relabel, Verdict

__version__ = version("robustft")
for _name, _value in NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)

__all__ = [
    "Answer",
    "Config",
    "ConfigError",
    "DataError",
    "Decision",
    "Example",
    "ModelError",
    "Relabel",
    "Result",
    "RobustFTError",
    "Verdict",
    "denoise",
    "load_config",
    "make_config",
]
