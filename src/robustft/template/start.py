"""A short config with what has to be said, for each kind of task; `robustft init KIND`, `robustft init --from FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import yaml

from robustft.template.guess import LOOKED_AT, Guess

Kind = Literal["choice", "number", "short"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SAMPLES: dict[Kind, Guess] = {
    "choice": Guess("columns", "text", "label", None, "choice", ("negative", "neutral", "positive"), 0),
    "number": Guess("columns", "question", "answer", None, "number", (), 0),
    "short": Guess("columns", "question", "answer", None, "short", (), 0),
}
_ASKED: dict[Kind, str] = {
    "choice": "What is the sentiment of this review?",
    "number": "Work out the figure that the question asks for.",
    "short": "Answer the question with a word or a short phrase.",
}
_MEANING: dict[Kind, str] = {
    "choice": "one of several options",
    "number": "a quantity, such as 3, 1,200 or 4.5 %",
    "short": "a word or a short phrase",
}


def sample(kind: Kind) -> str:
    """Return a config for a task of this kind, with sample names to replace."""
    return _text(_SAMPLES[kind], "my.csv", _ASKED[kind], "Replace the sample names by yours.")


def filled_in(path: Path, found: Guess) -> str:
    """Return a config for a file as it was guessed, with what to check said beside it."""
    first = "the first " if found.rows == LOOKED_AT else ""
    head = f"Guessed from {first}{found.rows:,} rows of {path.name}: check it, and say what is asked."
    return _text(found, path.as_posix(), "Say here what is asked of every row.", head)


def _text(found: Guess, path: str, instruction: str, head: str) -> str:
    comment = f"# {head}\n# `robustft init` without arguments writes every key, and what it means."
    return "\n".join([comment, *_task(found, instruction), *_data(found, path), _REST])


def _task(found: Guess, instruction: str) -> list[str]:
    lines = ["task:", f"  kind: {found.kind:<28}# {_MEANING[found.kind]}", f"  instruction: {_flow(instruction)}"]
    if found.options:
        lines.append(f"  options: {_flow(list(found.options))}")
    return lines


def _data(found: Guess, path: str) -> list[str]:
    lines = ["data:", f"  path: {_flow(path)}"]
    if found.layout != "columns":
        return [*lines, f"  layout: {found.layout}"]
    lines += [f"  question: {_flow(found.question)}", f"  response: {_flow(found.response)}"]
    if found.own_options is not None:
        lines.append(f"  options: {_flow(found.own_options)}")
    return lines


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


_REST = """\
  # id: id                           # your rows' names, in the report and for `robustft explain`
  # truth: truth                     # a column of right responses, for measuring only
llm:
  backend: openai                    # any OpenAI-compatible endpoint; its key comes from OPENAI_API_KEY
  base_url: http://127.0.0.1:8000/v1
  model: Qwen/Qwen2.5-7B-Instruct
  # price: {prompt: 0.15, completion: 0.6}   # money for a million tokens, for `robustft plan` and a budget
# llm: {backend: local, model: HuggingFaceTB/SmolLM2-1.7B-Instruct}   # or a model in this process
export: [alpaca, messages]           # also sharegpt, prompt-completion
# embedder: tfidf                    # without `pip install '.[local]'`; else a small model of sentences
# train: {model: HuggingFaceTB/SmolLM2-1.7B-Instruct}   # a LoRA adapter of it; {} where llm is local
# evaluate: {path: test.csv}         # before and after, on rows that were held out
"""
