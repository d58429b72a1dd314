from __future__ import annotations

from pathlib import Path

import pytest

from robustft.loading import load_config
from robustft.template.start import KINDS, Kind, sample


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_a_config_of_its_kind(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(sample(kind), encoding="utf-8")
    config = load_config(path)
    assert config.task.kind == kind
    assert config.llm.backend == "openai"
    assert config.data.path == str(tmp_path / "my.csv")
    assert max(map(len, sample(kind).splitlines())) <= 120
