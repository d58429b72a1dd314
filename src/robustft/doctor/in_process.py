"""What applies of the checks to a model in this process, and to the scripted one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from robustft.config import Config
from robustft.doctor.findings import Finding, Report
from robustft.doctor.probes import CAPITAL, QUESTION, SCORED
from robustft.errors import RobustFTError
from robustft.llm.client import LLM, Sampling
from robustft.records import Message

_TOKENS = 16


async def examine_local(config: Config, say: Callable[[str], None]) -> Report:
    """Load the model, let it answer, and let it score."""
    examined = f"{config.llm.model} in this process"
    say("model")
    start = time.perf_counter()
    try:
        from robustft.llm.local.model import LocalLLM

        llm = await asyncio.to_thread(LocalLLM.open, config.llm)
    except RobustFTError as error:
        return Report(examined, {"model": Finding("failed", str(error), "see there")})
    loaded = f"loaded in {time.perf_counter() - start:.1f} s: {llm.weights.dtype} on {llm.weights.model.device}"
    say("answers, scoring")
    try:
        findings = {"model": Finding("ok", loaded, "loads it once")} | await _asked(llm, config.llm.top_logprobs)
    finally:
        await llm.aclose()
    return Report(examined, findings)


async def _asked(llm: LLM, alternatives: int) -> dict[str, Finding]:
    messages = [Message(role="user", content=QUESTION)]
    try:
        start = time.perf_counter()
        said = await llm.complete(messages, Sampling(max_tokens=_TOKENS, top_logprobs=alternatives))
        seconds = time.perf_counter() - start
        scores = await llm.score([Message(role="user", content=CAPITAL)], [SCORED])
    except RobustFTError as error:
        return {"answers": Finding("failed", str(error), "choose an instruction-tuned model")}
    text = " ".join(said.text.split())[:40]
    numbers = said.logprobs is not None and all(map(math.isfinite, said.logprobs))
    given = Finding("ok", f"{alternatives} alternatives a token", "has option probabilities")
    none = Finding("degraded", "none", "counts votes, without probabilities")
    return {
        "answers": Finding("ok", f"{text!r}, finish {said.finish}", "reads answers from such texts"),
        "logprobs": given if numbers and alternatives else none,
        "scoring": Finding("ok", f"{SCORED!r} has log p {scores.logprobs[0]:.2f}", "can score options"),
        "speed": Finding("ok", f"{said.usage.completion_tokens / seconds:.0f} tokens/s, alone", "batches by length"),
    }


def examine_scripted(config: Config) -> Report:
    """See whether there is a truth to make answers from."""
    mapped = config.data.truth or config.data.truth_path
    truth = Finding("ok", f"the truth is in {mapped}", "makes answers from it")
    return Report(
        "the scripted model",
        {
            "model": truth if mapped else Finding("failed", "data.truth is not mapped", "map the column of the truth"),
            "logprobs": Finding("ok", "always there", "has option probabilities"),
            "scoring": Finding("ok", "always there", "can score options"),
        },
    )
