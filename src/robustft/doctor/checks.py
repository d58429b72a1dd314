"""The checks, in the order in which they are made: each asks one thing and says what a run does about the answer."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from robustft.doctor.findings import Finding
from robustft.doctor.logprobs import shape_of
from robustft.doctor.long import long_prompts
from robustft.doctor.needs import LOGPROBS, SCORES, needed
from robustft.doctor.probes import (
    CAPITAL,
    CHOOSES,
    CONSTRAINTS,
    COUNTING,
    QUESTION,
    RANDOM,
    SCORED,
    SENTENCE,
    STONES,
)
from robustft.doctor.visit import Said, Visit
from robustft.doctor.wire import ProbeError
from robustft.errors import ModelError
from robustft.llm.asking import answer_sampling
from robustft.llm.client import Sampling
from robustft.llm.openai.endpoint import Endpoint, RefusedError
from robustft.llm.openai.lane import LiveLane
from robustft.llm.openai.model import OpenAILLM
from robustft.llm.openai.replies import read_logprobs
from robustft.records import Message

FREELY = "needs none: asks in words, reads free text"
_SIBLINGS = 5
_LIMIT = 16
_MARKS = re.compile(r"</?\w*(?:think|thought|reason)\w*>|<\|channel\|>|\[/?THINK\]|◁/?think▷", re.IGNORECASE)


async def reachable(visit: Visit) -> Finding:
    """Look for the endpoint, and the models that it lists."""
    url = visit.wire.base_url
    reply = await visit.wire.get(f"{url}/models")
    if reply.status == 401 or 300 <= reply.status < 400:
        raise visit.refusal(reply)
    visit.listed = _models(reply.json) if reply.ok else None
    if visit.listed is not None:
        return Finding("ok", f"answers after {1000 * reply.seconds:.0f} ms", "goes on")
    if better := await _elsewhere(visit):
        return Finding(
            "failed", f"nothing under {url} ({reply.status})", f"set llm.base_url to {better}, which answers"
        )
    return Finding("ok", f"a server is there ({reply.status} for /models)", "goes on")


async def model(visit: Visit) -> Finding:
    """Look the model's name up in the server's list."""
    if visit.listed is None:
        return Finding("ok", "the server lists no models", f"asks for {visit.model}")
    if visit.model in visit.names:
        return Finding("ok", f"{visit.model} is listed", f"asks for {visit.model}")
    near = f"nearest: {visit.nearest()}" if visit.names else "the list is empty"
    return Finding("degraded", f"{visit.model} is not listed; {near}", f"asks for {visit.model} all the same")


async def answers(visit: Visit) -> Finding:
    """Ask a question as a run does, with its sampling."""
    visit.first = said = await visit.ask(QUESTION, answer_sampling(visit.config))
    text, finish, limit = said.completion.text, _finish(said, visit), visit.config.paper.max_tokens
    if not text.strip() and finish == "length":
        way_out = "raise paper.max_tokens, or turn reasoning off by llm.extra_body"
        return Finding("failed", f"no answer within {limit} tokens of reasoning (finish length)", way_out)
    if not text.strip():
        return Finding("failed", f"an empty text (finish {finish})", "look at the server's chat template, and its log")
    seen = f"{visit.wire.show(text, 30)!r}, finish {finish}"
    if finish != "stop":
        return Finding("degraded", seen, f"abstains where an answer is cut off; paper.max_tokens is {limit}")
    return Finding("ok", seen, "reads answers from such texts")


async def reasoning(visit: Visit) -> Finding:
    """See where the first answer's reasoning is, and whether it is told apart from the answer."""
    said = _first(visit)
    message, details = said.reply.json["choices"][0]["message"], _usage(said).get("completion_tokens_details") or {}
    if mark := _MARKS.search(said.completion.text):
        way_out = "reads it as the answer; set the server's reasoning parser, or turn reasoning off"
        return Finding("degraded", f"reasoning stays in the text: {mark.group()}", way_out)
    for field in ("reasoning", "reasoning_content"):
        if isinstance(message.get(field), str) and message[field]:
            return Finding("ok", f"in the field {field}", "keeps it apart from the answer")
    if said.completion.reasoning:
        return Finding("ok", "in the text, in <think>", "takes it out of the text, keeps it apart")
    if isinstance(details, dict) and (hidden := details.get("reasoning_tokens")):
        return Finding("ok", f"hidden ({visit.wire.show(hidden)} tokens)", "pays for it, and never sees it")
    return Finding("ok", "none", "nothing to keep apart")


async def token_limit(visit: Visit) -> Finding:
    """See which name of the length limit is taken, and whether it limits anything."""
    said = await visit.ask(COUNTING, Sampling(max_tokens=_LIMIT))
    name, wrote = visit.dialect.length, said.completion.usage.completion_tokens
    if wrote > _LIMIT or (not wrote and said.completion.finish != "length"):
        how = f"wrote {wrote} tokens" if wrote else f"ended with {_finish(said, visit)}"
        return Finding("degraded", f"{name} {_LIMIT} is taken, and ignored: {how}", "pays for answers of any length")
    return Finding("ok", f"{name} is taken and kept", "sends that")


async def logprobs(visit: Visit) -> Finding:
    """See in which form the first answer's log-probabilities came, and how much of it can be read."""
    if not visit.config.llm.top_logprobs:
        return Finding("ok", "not asked for (llm.top_logprobs: 0)", "counts votes, without probabilities")
    said = _first(visit)
    given = said.reply.json["choices"][0].get("logprobs")
    seen = shape_of(given, said.reply.payload) if visit.dialect.logprobs else "refused"
    _, numbers, alternatives = read_logprobs(given)
    visit.gives_logprobs = numbers is not None
    if numbers is not None and alternatives is not None:
        return Finding("ok", seen, "has option probabilities")
    if numbers is None and (need := needed(visit.config, LOGPROBS)):
        return Finding("failed", seen, f"{need.key} needs them: {need.way_out}")
    less = "has no option probabilities" if numbers is not None else "has no probabilities"
    return Finding("degraded", seen, f"{less}: an answer is a vote, and weighs less")


async def scoring(visit: Visit) -> Finding:
    """Score a given text, by the very call that a run makes."""
    config = visit.config.llm.model_copy(update={"attempts": 2, "token_parameter": visit.dialect.length})
    llm, messages = OpenAILLM(LiveLane(Endpoint(config)), config), [Message(role="user", content=CAPITAL)]
    visit.wire.requests += 1
    try:
        scores = await llm.score(messages, [SCORED])
    except ModelError as error:
        lacking = "prompt_logprobs" in str(error)
        visit.gives_scores = False if lacking or isinstance(error, RefusedError) else None
        seen = "no prompt_logprobs" if lacking and error.fatal else visit.wire.show(error, 120)
        if await _echoes(visit):
            seen += ", only echo at /completions"
    else:
        visit.gives_scores = True
        visit.count(scores.usage)
        seen = f"{SCORED!r} has {scores.tokens[0]} tokens, log p {scores.logprobs[0]:.2f}"
        return Finding("ok", seen, "can score options")
    finally:
        await llm.aclose()
    if need := needed(visit.config, SCORES):
        return Finding("failed", seen, f"{need.key} needs scores: {need.way_out}")
    return Finding("degraded", seen, "refuses likelihood and scored answers at its start")


async def constraint(visit: Visit) -> Finding:
    """Ask for an answer that only a constraint can bring about."""
    outcomes, visit.chooses = [], False
    for form, keys in CONSTRAINTS.items():
        try:
            said = await visit.ask(CAPITAL, Sampling(max_tokens=visit.room + 16), **keys)
        except ProbeError as error:
            if error.gone:
                raise
            outcomes.append(f"{form} refused")
            continue
        if any(stone in said.completion.text for stone in STONES):
            visit.chooses = form == CHOOSES
            way = "method posterior asks direct for one token, an option's letter" if visit.chooses else FREELY
            return Finding("ok", f"{form} is honoured", way)
        outcomes.append(f"{form} ignored")
    return Finding("degraded", ", ".join(outcomes), FREELY)


async def determinism(visit: Visit) -> Finding:
    """Ask the same at temperature 0 several times at once."""
    start = time.perf_counter()
    visit.burst = await visit.ask_at_once(SENTENCE, *[Sampling(max_tokens=2 * _LIMIT)] * _SIBLINGS)
    visit.burst_s = time.perf_counter() - start
    if visit.coldest:
        way_out = f"asks at paper.temperature; set evaluate.temperature to {visit.coldest:g}"
        return Finding("degraded", "temperature 0 is refused", way_out)
    texts = Counter(said.completion.reasoning + said.completion.text for said in visit.burst)
    odd = _SIBLINGS - max(texts.values())
    if odd:
        seen = f"{odd} of {_SIBLINGS} answers at temperature 0 differ"
        return Finding("degraded", seen, "repeats itself by its ledger alone; keep that file")
    return Finding("ok", f"{_SIBLINGS} equal answers at temperature 0", "keeps answers in its ledger anyway")


async def sampling(visit: Visit) -> Finding:
    """See whether temperature 1 makes answers differ and, where seeds are sent, a seed makes them equal."""
    drawn = await visit.ask_at_once(RANDOM, *[Sampling(1.0, 2 * _LIMIT)] * 3)
    if len({said.completion.reasoning + said.completion.text for said in drawn}) == 1:
        return Finding("degraded", "3 equal answers at temperature 1", "gains nothing from asking several times")
    if not visit.config.llm.send_seed:
        return Finding("ok", "answers at temperature 1 differ", "samples; sends no seed (llm.send_seed)")
    seeded = [(await visit.ask(RANDOM, Sampling(1.0, 2 * _LIMIT, seed=7))).completion.text for _ in range(2)]
    if seeded[0] != seeded[1]:
        return Finding("degraded", "temperature is honoured, a seed is not", "repeats itself by its ledger alone")
    return Finding("ok", "temperature and seed are honoured", "samples, with seeds")


async def speed(visit: Visit) -> Finding:
    """Put together how long the earlier answers took, and which limits the server named."""
    seconds, timeout, wire = _first(visit).reply.seconds, visit.config.llm.timeout, visit.wire
    wrote = sum(said.completion.usage.completion_tokens for said in visit.burst)
    took = max(visit.burst_s, 1e-9)
    seen = f"first answer {seconds:.1f} s; {_SIBLINGS} at once: {_SIBLINGS / took:.1f}/s, {wrote / took:.0f} tokens/s"
    if wire.limits:
        seen += "; " + ", ".join(
            f"{name.removeprefix('x-')} {value}" for name, value in sorted(wire.limits.items())[:4]
        )
    if wire.busy:
        return Finding("degraded", f"{seen}; {wire.busy} times 429 or 503", "waits as asked, sends fewer at once")
    if seconds > timeout / 2:
        return Finding("degraded", seen, f"gives an attempt up after {timeout:g} s: raise llm.timeout")
    return Finding("ok", seen, f"sends up to {visit.config.llm.concurrency} at once, as many as pay")


Check = Callable[[Visit], Awaitable[Finding]]
CHECKS: Mapping[str, Check] = {
    "reachable": reachable,
    "model": model,
    "answers": answers,
    "reasoning": reasoning,
    "token limit": token_limit,
    "logprobs": logprobs,
    "scoring": scoring,
    "constraint": constraint,
    "long prompts": long_prompts,
    "determinism": determinism,
    "sampling": sampling,
    "speed": speed,
}
VITAL = frozenset({"reachable", "answers"})
"""Checks without which nothing else can be asked."""


def _models(json: Any) -> list[Mapping[str, Any]] | None:
    data = json.get("data") if isinstance(json, dict) else None
    return [entry for entry in data if isinstance(entry, dict) and "id" in entry] if isinstance(data, list) else None


async def _elsewhere(visit: Visit) -> str | None:
    """Return the address under which the server lists models, where it is a likely slip away from the config's."""
    url = visit.wire.base_url
    for candidate in (re.sub(r"(/chat)?/completions$|/models$", "", url), f"{url.removesuffix('/v1')}/v1"):
        if candidate != url:
            reply = await visit.wire.get(f"{candidate}/models")
            if reply.ok and _models(reply.json) is not None:
                return candidate
    return None


async def _echoes(visit: Visit) -> bool:
    """Whether plain completions can repeat a prompt with its log-probabilities, which a run doesn't use."""
    body = {"model": visit.model, "prompt": SCORED, "max_tokens": 1, "echo": True, "logprobs": 0}
    reply = await visit.wire.post("/completions", body)
    try:
        return reply.ok and str(reply.json["choices"][0]["text"]).startswith(SCORED)
    except (LookupError, TypeError):
        return False


def _first(visit: Visit) -> Said:
    if visit.first is None:
        raise RuntimeError("the check 'answers' comes first")
    return visit.first


def _finish(said: Said, visit: Visit) -> str:
    return visit.wire.show(said.completion.finish, 20)


def _usage(said: Said) -> Mapping[str, Any]:
    usage = said.reply.json.get("usage")
    return usage if isinstance(usage, dict) else {}
