"""The fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from robustft.config import Config
from robustft.loading import make_config
from support import MakeConfig

# a busy machine is no fault of the code; CI tries the same examples each time
settings.register_profile("robustft", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("robustft")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeConfig:
    """Return a function that makes a config for a file, with the scripted model, its own ledger and vectors."""
    for module in ("robustft.llm.models", "robustft.llm.openai.capabilities"):
        monkeypatch.setattr(f"{module}.user_cache_path", lambda name: tmp_path / "cache")

    def make(file: Path, **sections: Any) -> Config:
        tree: dict[str, Any] = {
            "task": {"instruction": "What is the mood?"},
            "data": {"path": str(file), "truth": "truth"},
            "llm": {"backend": "scripted"},
            "method": "paper",
            "embedder": "tfidf",
            "ledger": str(tmp_path / "ledger.sqlite"),
        }
        for name, section in sections.items():
            tree[name] = tree[name] | section if isinstance(tree.get(name), dict) else section
        return make_config(tree)

    return make
