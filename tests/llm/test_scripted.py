from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from robustft.config import ScriptedConfig, TaskConfig
from robustft.errors import ConfigError, ModelError
from robustft.llm.client import Sampling, Tag
from robustft.llm.scripted import ScriptedLLM, SimulatedRow, simulated_rows, solve_mu
from robustft.records import Example, Message
from robustft.tasks import make_task

ROWS = {f"r{i}": SimulatedRow(tuple("ABCD"[: 3 + i % 2]), i % 3, "A") for i in range(3000)}
ASK = [Message(role="user", content="?")]
SAMPLED = Sampling(temperature=1.0, top_logprobs=20)


async def votes(llm: ScriptedLLM, expert: str) -> np.ndarray:
    texts = [(await llm.complete(ASK, SAMPLED, Tag(row, expert))).text for row in ROWS]
    return np.array(["ABCD".index(text.removeprefix("Answer: ")) for text in texts])


TRUTH = np.array([row.truth for row in ROWS.values()])


@pytest.mark.parametrize("mode", ["experts", "votes"])
@pytest.mark.parametrize("accuracy", [0.3, 0.6, 0.755])
async def test_the_direct_vote_has_the_set_accuracy(mode: Literal["experts", "votes"], accuracy: float) -> None:
    llm = ScriptedLLM(ScriptedConfig(mode=mode, accuracy=accuracy), ROWS)
    right = (await votes(llm, "direct")) == TRUTH
    assert abs(right.mean() - accuracy) < 4 * np.sqrt(accuracy * (1 - accuracy) / len(right))


async def test_experts_err_together_and_votes_do_not() -> None:
    experts = ScriptedLLM(ScriptedConfig(accuracy=0.6), ROWS)
    wrong = [(await votes(experts, name)) != TRUTH for name in ("direct", "reasoning")]
    assert np.mean(wrong[0] & wrong[1]) > 1.3 * np.mean(wrong[0]) * np.mean(wrong[1])
    independent = ScriptedLLM(ScriptedConfig(mode="votes", accuracy=0.6), ROWS)
    wrong = [(await votes(independent, name)) != TRUTH for name in ("direct", "reasoning")]
    assert abs(np.mean(wrong[0] & wrong[1]) - 0.16) < 4 * np.sqrt(0.16 * 0.84 / len(ROWS))


async def test_vote_probabilities_and_logprobs_agree() -> None:
    llm = ScriptedLLM(ScriptedConfig(), ROWS)
    for row in list(ROWS)[:50]:
        completion = await llm.complete(ASK, SAMPLED, Tag(row, "direct"))
        assert completion.tokens is not None
        assert completion.logprobs is not None
        assert completion.top_logprobs is not None
        at_answer = completion.top_logprobs[2]
        assert sum(np.exp(list(at_answer.values()))) == pytest.approx(1.0)
        assert at_answer[completion.tokens[2]] == completion.logprobs[2]
        greedy = await llm.complete(ASK, Sampling(top_logprobs=5), Tag(row, "direct"))
        assert greedy.text.endswith(max(at_answer, key=at_answer.__getitem__))
        scores = await llm.score(ASK, ROWS[row].candidates, Tag(row, "direct"))
        assert scores.logprobs == pytest.approx(tuple(at_answer.values()))


async def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    first, again = (ScriptedLLM(ScriptedConfig(seed=1), ROWS) for _ in range(2))
    other = ScriptedLLM(ScriptedConfig(seed=2), ROWS)
    assert (await votes(first, "direct") == await votes(again, "direct")).all()
    assert (await votes(first, "direct") != await votes(other, "direct")).any()
    assert first.identity == again.identity != other.identity


async def test_malformed_answers_and_faults_come_at_their_rate() -> None:
    llm = ScriptedLLM(ScriptedConfig(malformed=0.2), ROWS)
    texts = [(await llm.complete(ASK, SAMPLED, Tag(row, "direct"))).text for row in ROWS]
    share = np.mean([not text.startswith("Answer: ") for text in texts])
    assert abs(share - 0.2) < 4 * np.sqrt(0.16 / len(ROWS))
    faulty = ScriptedLLM(ScriptedConfig(faults=1.0), ROWS)
    with pytest.raises(ModelError, match="injected fault"):
        await faulty.complete(ASK, SAMPLED, Tag("r0", "direct"))


async def test_a_judge_says_wrong_of_what_the_model_finds_unlikely() -> None:
    sure = ScriptedLLM(ScriptedConfig(mode="votes", accuracy=1.0), ROWS)
    said = {r: (await sure.complete(ASK, SAMPLED, Tag(r, "agent"))).text for r in ("r0", "r1")}
    assert said == {"r0": "Wrong: N", "r1": "Wrong: Y"}


def test_of_several_accepted_answers_the_first_is_said() -> None:
    truths = ["the Stork | Stork", "52 | fifty-two", "at dusk", "Ann"]
    given = ["Stork", "at dusk", "at dusk | dusk", None]
    rows = zip(truths, given, strict=True)
    examples = [Example(f"r{i}", (), response, truth=truth) for i, (truth, response) in enumerate(rows)]
    found = simulated_rows(examples, make_task(TaskConfig(kind="short")))
    firsts = ["the Stork", "52", "at dusk", "Ann"]
    assert [row.candidates[row.truth] for row in found.values()] == firsts
    assert [row.given for row in found.values()] == ["the Stork", "at dusk", "at dusk", None]
    assert all(sorted(row.candidates) == sorted(firsts) for row in found.values())


async def test_an_unknown_row_is_named() -> None:
    with pytest.raises(ModelError, match="knows no row 'zz'"):
        await ScriptedLLM(ScriptedConfig(), ROWS).score(ASK, ["a"], Tag("zz", "likelihood"))


def test_mu_grows_with_the_accuracy_and_an_impossible_one_is_refused() -> None:
    found = [solve_mu(a, 1.5, 2.0, 4) for a in (0.1, 0.25, 0.6, 0.9)]
    assert found == sorted(found)
    with pytest.raises(ConfigError, match="out of reach"):
        solve_mu(0.0, 1.5, 2.0, 4)
