"""The lane openai-batch, the official client against a real server: each request is answered once, come what may."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from llm import server
from llm.batch.lanes import QUICK, Bench, opened, question
from llm.batch.server import BatchServer, End
from robustft.config import LLMConfig
from robustft.errors import ConfigError, DataError, ModelError
from robustft.llm.batch.carrier import Pace
from robustft.llm.batch.hosted import HostedBatches
from robustft.llm.batch.lane import BatchLane, Limits
from robustft.llm.client import Completion, Sampling, Scores
from robustft.llm.openai.model import OpenAILLM

SAMPLING = Sampling(max_tokens=9, top_logprobs=3)


def answer(body: dict[str, Any]) -> str:
    return f"Answer: {body['messages'][-1]['content'][-3:]}"


async def ask(bench: Bench, numbers: Sequence[int]) -> list[Completion | BaseException]:
    calls = (bench.llm.complete(question(n), SAMPLING) for n in numbers)
    return await asyncio.gather(*calls, return_exceptions=True)


def texts(replies: Sequence[Completion | BaseException]) -> list[str]:
    return [reply.text if isinstance(reply, Completion) else f"{type(reply).__name__}: {reply}" for reply in replies]


def right(numbers: Sequence[int]) -> list[str]:
    return [f"Answer: {question(n)[0]['content'][-3:]}" for n in numbers]


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_the_answers_are_those_of_the_live_lane_under_the_same_keys(tmp_path: Path) -> None:
    async def both(bench: Bench) -> tuple[list[Completion], list[Scores]]:
        completions = asyncio.gather(*(bench.llm.complete(question(n), SAMPLING) for n in range(20)))
        scores = asyncio.gather(*(bench.llm.score(question(n), ["Paris", " 漢字 🙂", "a"]) for n in range(5)))
        return await completions, await scores

    async with BatchServer(answer=answer) as chat:
        async with opened(tmp_path / "live", base_url=chat.url, lane="live") as live:
            expected = await both(live)
        async with opened(tmp_path / "batch", base_url=chat.url) as bench:
            assert await both(bench) == expected
            assert chat.sizes == [20 + 5 * 3]
            assert bench.calls == live.calls
        assert list(bench.home.iterdir()) == []
        sent = chat.calls
        async with opened(tmp_path / "batch", base_url=chat.url, lane="live") as again:
            assert await both(again) == expected
        assert chat.calls == sent
        assert again.calls.requests == 0
        async with opened(tmp_path / "live", base_url=chat.url) as other:
            assert await both(other) == expected
        assert len(chat.jobs) == 1


async def test_the_bodies_are_those_of_the_live_lane(tmp_path: Path) -> None:
    async with BatchServer() as chat:
        for lane in ("live", "openai-batch"):
            async with opened(tmp_path / lane, base_url=chat.url, lane=lane, extra_body={"min_p": 0.1}) as bench:
                await ask(bench, [1])
                await bench.llm.score(question(1), ["a"])
        lines = [orjson.loads(line) for line in chat.files["file-0"].splitlines()]
    assert [wire.body for wire in chat.seen] == [line["body"] for line in lines] or len(lines) == 1
    assert {line["url"] for line in lines} == {"/v1/chat/completions"}


@pytest.mark.parametrize("pieces", [server.words, server.utf8, server.broken])
async def test_scores_where_the_candidate_has_to_be_counted(tmp_path: Path, pieces: Any) -> None:
    candidates = ["Paris", " 漢字 🙂", "a"]
    async with BatchServer(pieces=pieces) as chat:
        async with opened(tmp_path / "live", base_url=chat.url, lane="live") as live:
            expected = await live.llm.score(question(1), candidates)
        async with opened(tmp_path / "batch", base_url=chat.url) as bench:
            assert await bench.llm.score(question(1), candidates) == expected
        # a second request, where one is needed, is the same for all candidates
        assert chat.sizes == ([3, 1] if pieces is server.broken else [3])
    assert list(bench.home.iterdir()) == []


@pytest.mark.parametrize("changes", [{"prompt_logprobs": False}, {"refused": ("prompt_logprobs",)}])
async def test_a_server_that_cannot_score_says_what_to_do(tmp_path: Path, changes: Any) -> None:
    async with BatchServer(**changes) as chat, opened(tmp_path, base_url=chat.url) as bench:
        with pytest.raises(ModelError, match="leave 'likelihood' out of experts") as caught:
            await bench.llm.score(question(1), ["a", "b"])
        assert caught.value.fatal


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "batches").mkdir(mode=0o500)
    async with BatchServer() as chat, opened(tmp_path, base_url=chat.url) as bench:
        with pytest.raises(DataError, match="batch files can't be written"):
            await bench.llm.complete(question(1), SAMPLING)


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "batches").write_text("a file")
    with pytest.raises(ConfigError, match="batches: can't be made: File exists; name another file under `ledger`"):
        async with opened(tmp_path, base_url="http://127.0.0.1:9/v1"):
            pass


async def test_files_stay_within_their_limits(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, most=10) as chat:
        async with opened(tmp_path, base_url=chat.url, batch={"requests": 10}) as bench:
            assert texts(await ask(bench, range(25))) == right(range(25))
        assert sorted(chat.sizes) == [5, 10, 10]
        chat.jobs.clear()
        chat.files.clear()
        config = LLMConfig(backend="openai", model="m", base_url=chat.url)
        carrier = HostedBatches(config, QUICK)
        lane = BatchLane(carrier, tmp_path / "b", lambda key: True, Limits(size=1000), QUICK, print)
        llm = OpenAILLM(lane, config)
        replies = await asyncio.gather(*(llm.complete(question(n), SAMPLING) for n in range(25)))
        assert texts(replies) == right(range(25))
        assert len(chat.sizes) > 5
        assert all(len(chat.files[job.file_id]) <= 1000 for job in chat.jobs.values())
        with pytest.raises(ModelError, match="and a batch file takes 1000"):
            await llm.complete(question(10**1000), SAMPLING)
        await llm.aclose()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_to_batches_each_request_is_answered_once(tmp_path: Path, seed: int) -> None:
    ends: list[End] = ["expired", "completed", "expired"] if seed % 2 else ["completed", "expired"]
    chat = BatchServer(answer=answer, seed=seed, ends=iter(ends), lost=0.2, busy=0.2, strange=True)
    async with chat, opened(tmp_path, base_url=chat.url, attempts=40, batch={"requests": 30}) as bench:
        assert texts(await ask(bench, range(80))) == right(range(80))
        assert set(chat.carried_out.values()) == {1}
        assert len(chat.carried_out) == 80
        assert len(chat.jobs) > 3
        assert (bench.calls.requests, bench.calls.failed) == (80, 0)
        assert any("unknown custom_id and" in note for note in bench.notes)
    assert list(bench.home.iterdir()) == []


async def test_requests_that_fail_each_time_fail_alone(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, busy=1.0) as chat:
        async with opened(tmp_path, base_url=chat.url, attempts=3) as bench:
            assert texts(await ask(bench, [1])) == [
                f"ModelError: {chat.url}: 500 The server had an error. (3 attempts)"
            ]
        assert chat.sizes == [1, 1, 1]


async def test_a_refused_request_fails_alone_and_is_not_kept(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, refuse="number 3?") as chat:
        async with opened(tmp_path, base_url=chat.url) as bench:
            replies = texts(await ask(bench, range(5)))
            assert replies[3] == f"RefusedError: {chat.url} refuses the request (400): number 3? is not allowed"
            assert replies[:3] + replies[4:] == right([0, 1, 2, 4])
            assert chat.sizes == [5]
        assert list(bench.home.iterdir()) == []
        chat.refuse = None
        async with opened(tmp_path, base_url=chat.url) as bench:
            assert texts(await ask(bench, range(5))) == right(range(5))
        assert chat.sizes == [5, 1]


async def test_a_refused_parameter_is_learnt(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, refused=("max_tokens",), most_logprobs=2) as chat:
        async with opened(tmp_path, base_url=chat.url) as bench:
            assert texts(await ask(bench, range(5))) == right(range(5))
            assert texts(await ask(bench, range(5, 8))) == right(range(5, 8))
        assert chat.sizes == [5, 5, 5, 3]


async def test_the_same_question_asked_twice_at_once_is_sent_once_and_samples_are_not(tmp_path: Path) -> None:
    async with BatchServer(answer=answer) as chat, opened(tmp_path, base_url=chat.url) as bench:
        calls = [bench.llm.complete(question(1), Sampling(temperature=1.0, sample=n)) for n in (0, 0, 1, 2)]
        await asyncio.gather(*calls)
        assert chat.sizes == [3]


async def test_a_batch_that_fails_validation_ends_the_run_with_the_line_of_the_file(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, models=("right",)) as chat:
        async with opened(tmp_path, base_url=chat.url) as bench:
            first = (await ask(bench, range(3)))[0]
            assert isinstance(first, ModelError)
            assert first.fatal
            (folder,) = bench.home.iterdir()
            assert str(first) == (
                f"batch batch_0 failed: {folder}/requests.jsonl, line 1: No such model. [model_not_found] "
                "(and 2 more); mend llm.model or llm.extra_body and run the same command again"
            )
            assert (folder / "requests.jsonl").exists()
        async with opened(tmp_path, base_url=chat.url, model="right") as bench:
            assert not folder.exists()
            assert texts(await ask(bench, range(3))) == right(range(3))


async def test_a_batch_that_somebody_cancels_ends_the_run_and_the_next_asks_the_rest(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, ends=iter(["cancelled"])) as chat:
        async with opened(tmp_path, base_url=chat.url) as bench:
            replies = await ask(bench, range(30))
            assert all(isinstance(reply, ModelError) and reply.fatal for reply in replies)
            assert "batch_0 was cancelled" in texts(replies)[0]
        answered = len(chat.carried_out)
        assert 0 < answered < 30
        async with opened(tmp_path, base_url=chat.url) as bench:
            assert texts(await ask(bench, range(30))) == right(range(30))
        assert chat.sizes == [30, 30 - answered]
        assert set(chat.carried_out.values()) == {1}


async def test_where_the_queue_is_full_batches_wait_for_each_other(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, room=20) as chat:
        async with opened(tmp_path, base_url=chat.url, batch={"requests": 10}) as bench:
            assert texts(await ask(bench, range(50))) == right(range(50))
        assert any(job.status == "failed" for job in chat.jobs.values())
        assert set(chat.carried_out.values()) == {1}
        chat.room = 0
        async with opened(tmp_path / "2", base_url=chat.url) as bench:
            assert (
                "Enqueued token limit reached for m.; try again later, or set llm.batch.requests lower"
                in (texts(await ask(bench, [1]))[0])
            )


async def test_a_batch_whose_creation_is_in_doubt_is_looked_for_first(tmp_path: Path) -> None:
    async with BatchServer(answer=answer, lose_reply=True) as chat, opened(tmp_path, base_url=chat.url) as bench:
        assert texts(await ask(bench, range(5))) == right(range(5))
        assert chat.sizes == [5]
        assert "GET /v1/batches" in chat.said


async def test_a_server_that_stumbles_is_asked_again(tmp_path: Path) -> None:
    busy, limit = server.status(503), server.status(429)
    faults = iter([busy, server.reset, None, busy, None, busy, limit, server.reset, None, None, None, limit])
    async with BatchServer(answer=answer, batch_faults=faults) as chat, opened(tmp_path, base_url=chat.url) as bench:
        assert texts(await ask(bench, range(5))) == right(range(5))
        assert chat.sizes == [5]


async def test_a_server_that_stays_away_ends_the_run_and_the_next_picks_the_batch_up(tmp_path: Path) -> None:
    async with BatchServer(answer=answer) as chat:

        def away() -> Any:
            yield from (None, None)
            while True:
                yield server.status(503, message="down")

        chat.batch_faults = away()
        async with opened(tmp_path, base_url=chat.url) as bench:
            reply = (await ask(bench, range(5)))[0]
            assert isinstance(reply, ModelError)
            assert reply.fatal
            assert "503 down" in str(reply)
            assert "the same command again picks them up" in str(reply)
        chat.batch_faults = iter(())
        async with opened(tmp_path, base_url=chat.url) as bench:
            assert texts(await ask(bench, range(5))) == right(range(5))
        assert chat.sizes == [5]


async def test_a_batch_that_the_server_has_forgotten_is_named_with_the_way_out(tmp_path: Path) -> None:
    async with BatchServer(answer=answer) as chat, opened(tmp_path, base_url=chat.url) as bench:
        asking = asyncio.create_task(ask(bench, range(3)))
        while not chat.jobs:
            await asyncio.sleep(0.005)
        chat.jobs.clear()
        reply = (await asking)[0]
        (folder,) = bench.home.iterdir()
    assert f"batch batch_0 is unknown there; delete {folder} to have its requests submitted anew" in str(reply)


async def test_the_key_is_sent_and_is_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-very-secret"
    monkeypatch.setenv("MY_KEY", key)
    async with BatchServer(answer=answer, key=key) as chat:
        async with opened(tmp_path, base_url=chat.url, api_key_env="MY_KEY") as bench:
            asking = asyncio.create_task(ask(bench, range(3)))
            while not chat.jobs:
                await asyncio.sleep(0.005)
            written = contents(tmp_path)
            assert len(written) > 3
            assert not any(key.encode() in content for content in written)
            assert texts(await asking) == right(range(3))
            assert key not in " ".join(bench.notes)
        chat.key = "another"
        async with opened(tmp_path / "2", base_url=chat.url, api_key_env="MY_KEY") as bench:
            said = texts(await ask(bench, [1]))[0]
        assert "answers 401 to a batch (Incorrect API key provided: Bearer ***): check the key in MY_KEY" in said
        monkeypatch.delenv("MY_KEY")
        async with opened(tmp_path / "3", base_url=chat.url, api_key_env="MY_KEY") as bench:
            assert "set MY_KEY, which is not set" in texts(await ask(bench, [1]))[0]


async def test_a_server_without_a_batch_api(tmp_path: Path) -> None:
    async with server.ChatServer() as chat, opened(tmp_path, base_url=chat.url) as bench:
        reply = (await ask(bench, [1]))[0]
        assert isinstance(reply, ModelError)
        assert reply.fatal
        assert f"{chat.url} answers 404" in str(reply)
        assert "does it have the Batch API?" in str(reply)


async def test_progress_names_the_batch_its_state_and_its_counts(tmp_path: Path) -> None:
    async with BatchServer(answer=answer) as chat, opened(tmp_path, base_url=chat.url) as bench:
        await ask(bench, range(5))
        assert bench.notes == [
            f"batch batch_0: 5 requests submitted to {chat.url}",
            "batch batch_0: in_progress, 0 of 5 requests done",
            "batch batch_0: completed, 5 of 5 requests done",
            "batch batch_0: 5 of 5 requests are answered",
        ]


def test_without_the_client_the_way_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r'pip install "robustft\[batch\]"'):
        HostedBatches(LLMConfig(backend="openai", base_url="http://127.0.0.1:1/v1"), Pace())
