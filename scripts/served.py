"""Does a server give the answers of the adapter that a run has trained? Asked at temperature 0, here and there.

    vllm serve MODEL --enable-lora --max-lora-rank 16 --lora-modules mine=RUN/adapter
    python scripts/served.py RUN --base-url http://127.0.0.1:8000/v1 --name mine

Puts the first rows of the run to both, as they were trained on, and compares the answers token by token. Two programs
add numbers up in another order, so that where two tokens are about as likely each may take the other one: a tie, where
on both sides the first tokens that differ are within --tie nats of each other. In bfloat16 a logit between 32 and 64 is
a multiple of 0.25, and two such steps are a tie; to see more, serve with --dtype float32, and name it here too. Ends
with 1 where an answer differs by more than a tie.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from robustft.config import LLMConfig
from robustft.llm.client import LLM, Completion, Sampling
from robustft.llm.local.model import LocalLLM
from robustft.llm.openai.model import OpenAILLM
from robustft.outputs import form_of
from robustft.records import Example, Message
from robustft.run import RunDir
from robustft.tasks import make_task

TIES = {"bfloat16": 0.5, "float32": 0.01}


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two answers part: the tokens, and how many nats each side prefers its own by."""

    here: str
    there: str
    gap_here: float
    gap_there: float


def parting(here: Completion, there: Completion) -> Parting | None:
    """Return where the answers' first tokens that differ stand, None where the texts are the same."""
    if here.text == there.text:
        return None
    pairs = zip(here.tokens or (), there.tokens or (), strict=False)
    place, (own, other) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
    tops = [(completion.top_logprobs or ())[place] for completion in (here, there)]
    gaps = [abs(top.get(own, float("-inf")) - top.get(other, float("-inf"))) for top in tops]
    return Parting(own, other, *gaps)


async def answers(llm: LLM, asked: Sequence[Sequence[Message]], tokens: int) -> list[Completion]:
    """Return what the model says, at temperature 0."""
    sampling = Sampling(temperature=0.0, max_tokens=tokens, top_logprobs=20)
    try:
        return await asyncio.gather(*(llm.complete(messages, sampling) for messages in asked))
    finally:
        await llm.aclose()


async def compare(run: RunDir, server: LLMConfig, dtype: str, rows: int, tokens: int) -> tuple[int, list[Parting]]:
    """Return how many rows were asked, and where answers part. Raises RobustFTError."""
    config = run.config()
    examples = run.load(Example)[:rows]
    form = form_of(run, examples, make_task(config.task), config)
    asked = [form.ask(example) for example in examples]
    trained = orjson.loads((run.path / "training.json").read_bytes())["settings"]["model"]
    local = LLMConfig.model_validate({"model": trained, "adapter": run.path / "adapter", "dtype": dtype})
    here = await answers(LocalLLM.open(local), asked, tokens)
    there = await answers(OpenAILLM.open(server), asked, tokens)
    return len(asked), [found for pair in zip(here, there, strict=True) if (found := parting(*pair))]


def main() -> int:
    """Print what was found. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory with an adapter")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--name", required=True, help="what the server calls the adapter")
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=32, help="longest answer")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="the server's")
    parser.add_argument("--tie", type=float, help="nats; 0.5 in bfloat16, 0.01 in float32")
    wanted = parser.parse_args()
    server = LLMConfig(backend="openai", base_url=wanted.base_url, model=wanted.name)
    rows, partings = asyncio.run(compare(RunDir(wanted.run), server, wanted.dtype, wanted.rows, wanted.tokens))
    tie = wanted.tie if wanted.tie is not None else TIES[wanted.dtype]
    differ = [found for found in partings if max(found.gap_here, found.gap_there) > tie]
    for found in partings:
        print(f"{found.here!r} here, {found.there!r} there: {found.gap_here:.3f} and {found.gap_there:.3f} nats apart")
    print(f"{rows} rows: {rows - len(partings)} the same, {len(partings) - len(differ)} ties, {len(differ)} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
