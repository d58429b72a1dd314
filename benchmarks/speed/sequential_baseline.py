"""The paper's method as a script that asks one question at a time: what the released code does, in our words.

    python -m benchmarks.speed.sequential_baseline --rows rows.csv --base-url http://127.0.0.1:8000/v1 --model NAME

Written from the method's description (arXiv 2412.14922), with the prompts of `method: paper`, so that a server is asked
for the same: two answers a row; a row is clean where both agree with its label; for each other row an answer with three
clean neighbours as examples, and a review. Nothing is kept, retried or done at once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from openai import OpenAI

from robustft.config import DataConfig, TaskConfig
from robustft.data.readers import read
from robustft.detect.experts import DIRECT, REASONING
from robustft.llm.asking import wrap
from robustft.llm.embedder import tfidf
from robustft.prompts import Prompt
from robustft.records import Example
from robustft.relabel.review import CONTEXT, REVIEW
from robustft.tasks import make_task
from robustft.tasks.task import Task

NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class Loop:
    """The server, and the task whose answers are read."""

    client: OpenAI
    model: str
    task: Task

    def ask(self, example: Example, prompt: Prompt, **slots: str) -> str | None:
        """Ask one question and wait for its answer; None where it can't be read."""
        messages = wrap(self.task.render(example), prompt, answer_form=self.task.answer_form, **slots)
        reply = self.client.chat.completions.create(
            model=self.model,
            messages=messages,  # type: ignore[arg-type]
            temperature=1.0,
            max_tokens=512,
            logprobs=True,
        )
        found = self.task.locate(reply.choices[0].message.content or "", example.options, "tolerant")
        return found.value if found else None

    def run(self, examples: Sequence[Example]) -> tuple[int, int]:
        """Denoise. Returns the calls made, and how many rows were found noisy."""
        direct = [self.ask(example, DIRECT) for example in examples]
        reasoned = [self.ask(example, REASONING) for example in examples]
        labels = [self.task.label(example.response or "", example.options) for example in examples]
        clean = [row for row, label in enumerate(labels) if direct[row] == reasoned[row] == label]
        noisy = [row for row in range(len(examples)) if row not in set(clean)]
        vectors = tfidf([example.asked for example in examples])
        for row in noisy:
            near = sorted(clean, key=lambda other: -float(np.dot(vectors[row], vectors[other])))[:NEIGHBOURS]
            shown = "".join(
                f"{self.task.render(examples[other])[-1]['content']}\nAnswer: {labels[other]}\n\n" for other in near
            )
            context = self.ask(examples[row], CONTEXT, examples=shown)
            said = [answer or "(no answer)" for answer in (context, reasoned[row])]
            self.ask(examples[row], REVIEW, first=said[0], second=said[1])
        return 2 * len(examples) + 2 * len(noisy), len(noisy)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the calls, the noisy rows and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="a file with the columns question, answer and options")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int)
    wanted = parser.parse_args(arguments)
    task = make_task(TaskConfig(kind="choice"))
    examples = read(DataConfig(path=wanted.rows), task, wanted.limit).examples
    loop = Loop(OpenAI(base_url=wanted.base_url, api_key="EMPTY"), wanted.model, task)
    start = time.monotonic()
    calls, noisy = loop.run(examples)
    sys.stdout.write(f"calls {calls}, noisy {noisy} of {len(examples)}, seconds {time.monotonic() - start:.1f}\n")


if __name__ == "__main__":
    main()
