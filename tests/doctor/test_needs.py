"""What a config needs of its endpoints, and that a need known to be unmet is refused before any call."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from llm.server import ChatServer
from robustft.doctor.needs import needs, refuse_unmet
from robustft.errors import ConfigError
from robustft.llm.openai.capabilities import Capabilities, keep
from robustft.loading import make_config
from robustft.pipeline import denoise
from support import MakeConfig, write_moods

LLM = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
OWN = {"backend": "openai", "model": "own", "base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    ("sections", "keys"),
    [
        ({}, []),
        ({"experts": ["likelihood", "direct"]}, ["experts: likelihood"]),
        ({"method": "none", "experts": ["likelihood"]}, []),
        ({"method": "self-label", "experts": ["direct", "likelihood"]}, []),
        ({"method": "paper"}, ["method: paper"]),
        ({"method": "paper", "llm": LLM | {"top_logprobs": 0}}, []),
        ({"method": "paper", "paper": {"answers": "scored"}}, ["paper.answers: scored"]),
        ({"paper": {"answers": "scored"}}, []),
        ({"experts": ["direct", "context"], "paper": {"answers": "scored"}}, ["paper.answers: scored"]),
        ({"evaluate": {"path": "x.csv", "answers": "scored"}}, ["evaluate.answers: scored"]),
        ({"evaluate": {"path": "x.csv", "answers": "scored"}, "train": {"model": "smollm2"}}, []),
    ],
)
def test_needs(sections: dict[str, Any], keys: list[str]) -> None:
    config = make_config({"llm": LLM} | sections)
    assert [need.key for need in needs(config)] == keys
    assert [need.key for need in needs(config, evaluates=False)] == [key for key in keys if "evaluate" not in key]


@pytest.mark.parametrize(
    ("lacks", "sections", "said"),
    [
        ("gives_scores", {"experts": ["likelihood"]}, "experts: likelihood.*check 'scoring'.*leave likelihood out"),
        ("gives_logprobs", {"method": "paper"}, "method: paper.*check 'logprobs'.*llm.top_logprobs: 0"),
    ],
)
async def test_a_run_that_cannot_get_what_it_needs_ends_before_its_first_call(
    lacks: str, sections: dict[str, Any], said: str, make: MakeConfig, tmp_path: Path
) -> None:
    async with ChatServer() as chat:
        llm = {"backend": "openai", "model": "m", "base_url": chat.url}
        config = make(write_moods(tmp_path / "d.csv"), llm=llm, **{"method": "posterior"} | sections)
        keep(Capabilities.model_validate({"endpoint": chat.url, "model": "m", "found": date.today(), lacks: False}))
        with pytest.raises(ConfigError, match=said) as caught:
            await denoise(config, tmp_path / "run")
        assert chat.seen == []
    assert "\n" not in str(caught.value)
    assert str(date.today()) in str(caught.value)


def test_an_endpoint_of_its_own_for_evaluation_is_judged_by_itself(make: MakeConfig, tmp_path: Path) -> None:
    keep(Capabilities(endpoint=LLM["base_url"], model="own", found=date.today(), gives_scores=False))
    evaluate = {"path": "x.csv", "answers": "scored", "llm": OWN}
    config = make(tmp_path / "d.csv", llm=LLM, experts=["likelihood"], evaluate=evaluate)
    refuse_unmet(config, evaluates=False)
    with pytest.raises(ConfigError, match=r"evaluate.answers: scored: .* model own"):
        refuse_unmet(config)
