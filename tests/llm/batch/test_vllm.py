"""The lane vllm-batch: with a stand-in that starts at once, and with the real `vllm run-batch` where one is named."""

from __future__ import annotations

import asyncio
import math
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from llm import server
from llm.batch.lanes import opened, question
from robustft.config import LLMConfig
from robustft.errors import ConfigError, ModelError
from robustft.llm.batch.vllm import RunBatch
from robustft.llm.client import Completion, Sampling, Scores
from robustft.records import Message

STAND_IN = Path(__file__).with_name("run_batch.py")
REAL = os.environ.get("ROBUSTFT_TEST_VLLM_BATCH")
FOLDER = Path(os.environ.get("ROBUSTFT_TEST_VLLM_FOLDER", "~/.cache/vllm-cpu/model")).expanduser()


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def llm(home: Path, *options: str) -> dict[str, object]:
    command = shlex.join([sys.executable, str(STAND_IN), "run-batch", "--home", str(home), *options])
    return {"lane": "vllm-batch", "batch": {"command": command}}


def starts(home: Path) -> list[int]:
    path = home / "starts"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_completions_and_scores_go_out_in_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path, **llm(tmp_path)) as bench:
        completions = asyncio.gather(*(bench.llm.complete(question(n), Sampling(top_logprobs=2)) for n in range(5)))
        scores = await bench.llm.score(question(1), ["Paris", "a"])
        assert {completion.text for completion in await completions} == {"Answer: A"}
    assert scores.tokens == (5, 1)
    assert scores.logprobs[0] == math.fsum(server.logprob(piece) for piece in "Paris")
    assert len(starts(tmp_path)) == 1
    log = bench.home / "run-batch.log"
    assert str(log) in bench.notes[0]
    assert list(bench.home.iterdir()) == [log]


async def test_a_live_server_of_the_same_address_shares_the_answers(tmp_path: Path) -> None:
    async with server.ChatServer() as chat:
        async with opened(tmp_path, base_url=chat.url, lane="live") as bench:
            await bench.llm.complete(question(1), Sampling())
        async with opened(tmp_path, base_url=chat.url, **llm(tmp_path)) as bench:
            await asyncio.gather(*(bench.llm.complete(question(n), Sampling()) for n in range(3)))
            assert (bench.calls.requests, bench.calls.cached) == (2, 1)
        assert chat.calls == 1


async def test_only_what_is_missing_is_asked_again(tmp_path: Path) -> None:
    async with opened(tmp_path, attempts=9, **llm(tmp_path, "--keep", "4")) as bench:
        replies = await asyncio.gather(*(bench.llm.complete(question(n), Sampling()) for n in range(10)))
        assert {reply.text for reply in replies} == {"Answer: A"}
    assert len(starts(tmp_path)) == 3
    assert "batch " in bench.notes[1]
    assert "4 of 10 requests are answered" in bench.notes[1]
    assert "1 that can't be read" in bench.notes[2]


async def test_a_refused_request_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, **llm(tmp_path)) as bench:
        long = [Message(role="user", content="too long")]
        good, bad = await asyncio.gather(
            bench.llm.complete(question(1), Sampling()), bench.llm.complete(long, Sampling()), return_exceptions=True
        )
    assert isinstance(good, Completion)
    assert isinstance(bad, ModelError)
    assert not bad.fatal
    assert "maximum context length" in str(bad)


async def test_a_model_that_is_served_under_another_name(tmp_path: Path) -> None:
    async with opened(tmp_path, **llm(tmp_path, "--model=other")) as bench:
        with pytest.raises(ModelError, match=r"The model `m` does not exist.*check llm.model") as caught:
            await bench.llm.complete(question(1), Sampling())
    assert caught.value.fatal


async def test_a_crash_is_one_line_with_the_end_of_the_log(tmp_path: Path) -> None:
    async with opened(tmp_path, **llm(tmp_path, "--crash")) as bench:
        with pytest.raises(ModelError) as caught:
            await bench.llm.complete(question(1), Sampling())
        log = bench.home / "run-batch.log"
        (folder,) = set(bench.home.iterdir()) - {log}
        assert caught.value.fatal
        assert str(caught.value) == (
            f"llm.batch.command: {sys.executable} ended with 1 and no output: Traceback (most recent call last): | "
            f"... | RuntimeError: Engine core initialization failed.; all it said is in {log}"
        )
        assert log.read_text().startswith("loading\nTraceback")
    async with opened(tmp_path, **llm(tmp_path)) as bench:
        assert not folder.exists()
        assert (await bench.llm.complete(question(1), Sampling())).text == "Answer: A"


async def test_an_interrupted_run_takes_its_child_along(tmp_path: Path) -> None:
    async with opened(tmp_path, **llm(tmp_path, "--delay", "60")) as bench:
        asking = asyncio.create_task(bench.llm.complete(question(1), Sampling()))
        while not starts(tmp_path):
            await asyncio.sleep(0.01)
        asking.cancel()
    (child,) = starts(tmp_path)
    assert not lives(child)
    async with opened(tmp_path, **llm(tmp_path)) as bench:
        assert (await bench.llm.complete(question(1), Sampling())).text == "Answer: A"


ASK = """
import asyncio, sys
from pathlib import Path
from llm.batch.lanes import opened, question
from robustft.llm.client import Sampling

async def main(folder, command):
    async with opened(Path(folder), lane="vllm-batch", batch={"command": command}) as bench:
        await asyncio.gather(*(bench.llm.complete(question(i), Sampling()) for i in range(9)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("child", ["goes on", "is killed too"])
async def test_kill_9_while_the_child_is_at_work(tmp_path: Path, child: str) -> None:
    command = shlex.join([sys.executable, str(STAND_IN), "run-batch", "--home", str(tmp_path), "--delay", "3"])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ASK, str(tmp_path), command)
    while not starts(tmp_path):
        await asyncio.sleep(0.01)
        assert process.returncode is None
    process.send_signal(signal.SIGKILL)
    await process.wait()
    (pid,) = starts(tmp_path)
    assert lives(pid)
    if child == "is killed too":
        os.kill(pid, signal.SIGKILL)
    async with opened(tmp_path, **llm(tmp_path)) as bench:
        replies = await asyncio.gather(*(bench.llm.complete(question(n), Sampling()) for n in range(9)))
    assert {reply.text for reply in replies} == {"Answer: A"}
    assert len(starts(tmp_path)) == (1 if child == "goes on" else 2)
    assert [path.name for path in bench.home.iterdir()] == ["run-batch.log"]


@pytest.mark.parametrize("command", ["no-such-program run-batch", ""])
def test_a_program_that_is_not_there(command: str) -> None:
    config = LLMConfig.model_validate({"backend": "openai", "lane": "vllm-batch", "batch": {"command": command}})
    with pytest.raises(ConfigError, match=r"llm\.batch\.command: there is no program"):
        RunBatch(config)


MESSAGES = [Message(role="user", content="What is the capital of France? Answer with one word.")]
CANDIDATES = ["Paris", "London", "naïve 漢字🙂", "The capital of France is Paris."]


@pytest.mark.skipif(REAL is None, reason="set ROBUSTFT_TEST_VLLM_BATCH='vllm run-batch --model FOLDER ...' to run")
async def test_the_real_vllm_completes_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    assert REAL is not None
    monkeypatch.delenv("PYTHONPATH")
    model = os.environ.get("ROBUSTFT_TEST_VLLM_MODEL", "smollm2")
    async with opened(tmp_path, lane="vllm-batch", model=model, batch={"command": REAL}) as bench:
        sampling = Sampling(max_tokens=12, top_logprobs=20)
        long = [Message(role="user", content="hello " * 5000)]
        *completions, refused, scores = await asyncio.gather(
            *(bench.llm.complete(messages, sampling) for messages in (MESSAGES, question(1), question(2), long)),
            bench.llm.score(MESSAGES, CANDIDATES),
            return_exceptions=True,
        )
        assert bench.calls.requests == 4 + len(CANDIDATES)
    assert isinstance(refused, ModelError)
    assert not refused.fatal
    assert "maximum context length" in str(refused)
    for completion in completions:
        assert isinstance(completion, Completion)
        assert completion.logprobs is not None
        assert completion.top_logprobs is not None
        assert len(completion.logprobs) == completion.usage.completion_tokens
        for logprob, found in zip(completion.logprobs, completion.top_logprobs, strict=True):
            # greedy: the token is the likeliest of its alternatives
            assert logprob == pytest.approx(max(found.values()))
    assert isinstance(scores, Scores)
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    reference = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16)
    header = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    first = len(tokenizer(header, add_special_tokens=False)["input_ids"])
    for candidate, logprob, length in zip(CANDIDATES, scores.logprobs, scores.tokens, strict=True):
        ids = torch.tensor([tokenizer(header + candidate, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            logp = reference(ids).logits[0, :-1].float().log_softmax(-1)
        own = logp.gather(1, ids[0, 1:, None])[first - 1 :, 0]
        assert length == len(own)
        # bfloat16 has 8 bits: two right implementations differ by some hundredths of a nat a token
        assert logprob == pytest.approx(float(own.sum()), abs=0.1 * length)
