"""The local engine: options scored together against one after another, and text generated in a batch against alone.

    python -m benchmarks.speed.local --data labeled.csv --rows 1585

`alone` is the plain loop: each option's whole sequence, prompt and option, is a forward pass of its own. It does the
first --alone rows only, and its rate is taken for the rest. Both compute in the same number format and agree on the
scores to rounding, which is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.quality.machine import machine, packages
from robustft.config import DataConfig, LLMConfig, TaskConfig
from robustft.data.readers import read
from robustft.detect.experts import LIKELIHOOD
from robustft.llm.asking import wrap
from robustft.llm.client import Sampling
from robustft.llm.embedder import open_embedder
from robustft.llm.local.model import LocalLLM
from robustft.records import Message
from robustft.tasks import make_task

Asked = tuple[list[Message], tuple[str, ...]]
BATCH = 32


def alone(llm: LocalLLM, asked: Sequence[Asked]) -> list[list[float]]:
    """Return log p of each row's options, each from a forward pass of its own."""
    model, tokenizer = llm.weights.model, llm.weights.tokenizer
    scores = []
    for messages, options in asked:
        text = str(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False))
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        row = []
        for option in options:
            own = tokenizer(option, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + own]), use_cache=False).logits[0, len(prompt) - 1 : -1]
                logp = torch.log_softmax(logits.float(), dim=-1)
                row.append(float(logp[range(len(own)), own].sum()))
        scores.append(row)
    return scores


async def together(llm: LocalLLM, asked: Sequence[Asked]) -> list[list[float]]:
    """Return the same from the engine, all rows at once."""
    scores = await asyncio.gather(*(llm.score(messages, options) for messages, options in asked))
    return [list(score.logprobs) for score in scores]


async def generated(llm: LocalLLM, asked: Sequence[Asked], at_once: int, tokens: int) -> float:
    """Return the tokens a second of answers to the rows, so many at once."""
    sampling, count, start = Sampling(temperature=1.0, max_tokens=tokens), 0, time.perf_counter()
    for first in range(0, len(asked), at_once):
        some = asked[first : first + at_once]
        answers = await asyncio.gather(*(llm.complete(messages, sampling) for messages, _ in some))
        count += sum(answer.usage.completion_tokens for answer in answers)
    return count / (time.perf_counter() - start)


async def measure(wanted: argparse.Namespace) -> list[str]:
    """Return the lines of the table."""
    task = make_task(TaskConfig(kind="choice"))
    examples = read(DataConfig(path=wanted.data), task, wanted.rows).examples
    asked = [(wrap(task.render(example, listed=False), LIKELIHOOD), example.options) for example in examples]
    llm = LocalLLM.open(LLMConfig(model=wanted.model))
    await together(llm, asked[:8])  # kernels are chosen
    start = time.perf_counter()
    ours = await together(llm, asked)
    rate = len(asked) / (time.perf_counter() - start)
    start = time.perf_counter()
    theirs = alone(llm, asked[: wanted.alone])
    plain = len(theirs) / (time.perf_counter() - start)
    apart = max(abs(a - b) for row, other in zip(ours, theirs, strict=False) for a, b in zip(row, other, strict=True))
    single = await generated(llm, asked[:4], 1, wanted.tokens)
    batch = await generated(llm, asked[: 2 * BATCH], BATCH, wanted.tokens)
    await llm.aclose()
    embedder, texts = open_embedder("minilm", LLMConfig()), [example.asked for example in examples]
    await embedder.embed(texts[:8])
    start = time.perf_counter()
    await embedder.embed(texts)
    embedded = len(texts) / (time.perf_counter() - start)
    used = ", ".join(f"{name} {packages()[name]}" for name in ("torch", "transformers"))
    return [
        f"{machine()}; {wanted.model}, {llm.weights.dtype}, {len(asked)} rows, {used}",
        "",
        "| what | alone | together | times as fast |",
        "|---|---|---|---|",
        f"| options scored, rows a second | {plain:.2f} | {rate:.2f} | {rate / plain:.1f} |",
        f"| text generated, tokens a second, batch 1 and {BATCH} | {single:.1f} | {batch:.1f} | {batch / single:.1f} |",
        "",
        f"Scores are at most {apart:.2f} nats apart. minilm embeds {embedded:.0f} rows a second.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a file with the columns question, answer and options")
    parser.add_argument("--rows", type=int, default=1585)
    parser.add_argument("--alone", type=int, default=100, metavar="N", help="rows that the plain loop scores")
    parser.add_argument("--tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--model", default="smollm2")
    wanted = parser.parse_args(arguments)
    sys.stdout.write("\n".join(asyncio.run(measure(wanted))) + "\n")


if __name__ == "__main__":
    main()
