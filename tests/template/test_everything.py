from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic import BaseModel

from robustft.config import CompareConfig, Config, EvaluateConfig, PriceConfig, TrainConfig
from robustft.loading import load_config
from robustft.template.everything import everything


def test_what_is_written_is_the_default_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(everything(), encoding="utf-8")
    assert load_config(tmp_path / "c.yaml") == Config()


def test_the_keys_of_a_section_that_is_off_are_there_as_comments() -> None:
    lines = everything().splitlines()
    sections: dict[str, type[BaseModel]] = {"train": TrainConfig, "evaluate": EvaluateConfig, "compare": CompareConfig}
    for name, section in sections.items():
        start = lines.index(f"# {name}:")
        block = [line.removeprefix("# ") for line in lines[start : lines.index("", start)]]
        assert list(yaml.safe_load("\n".join(block))[name]) == list(section.model_fields)
    assert all(re.search(rf"^  #   {name}: ", everything(), re.MULTILINE) for name in PriceConfig.model_fields)
