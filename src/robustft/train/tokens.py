"""What is trained on, token by token: rows through the model's chat template, checked before any step is taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from robustft.data.train_rows import TrainRow
from robustft.errors import ConfigError, DataError
from robustft.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that isn't trained on, as torch's cross-entropy and TRL have it."""
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row as it is trained on: `labels` are `input_ids` where the answer is, IGNORED elsewhere.

    `length`: tokens before the limit cut its end off.
    """

    id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    length: int

    @property
    def cut(self) -> bool:
        """Whether the row is longer than the limit."""
        return self.length > len(self.input_ids)

    @property
    def trained(self) -> tuple[int, ...]:
        """The tokens that are trained on."""
        return tuple(label for label in self.labels if label != IGNORED)


def tokenise(rows: Sequence[TrainRow], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Tokens]:
    """Return each row's tokens, at most `max_length`: the conversation as the chat template writes it.

    Trained on is what comes behind the prompt as the model meets it when it is asked: the last answer and the end of
    its turn. Where the template writes the prompt alone in another way, it begins where the two part; so TRL does.
    Raises DataError for a row that the template refuses.
    """
    prompts = _encode([_write(row, tokenizer, answered=False) for row in rows], tokenizer)
    wholes = _encode([_write(row, tokenizer, answered=True) for row in rows], tokenizer)
    return [
        _tokens(row.id, prompt, whole, max_length) for row, prompt, whole in zip(rows, prompts, wholes, strict=True)
    ]


def count(tokens: Sequence[Tokens], ends: Collection[int], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what training.json says of the tokens. `ends` are those at which the model stops.

    Raises DataError, which names the rows, where nothing of a row is trained on, and ConfigError where the end of the
    turn isn't: such a model would never stop.
    """
    if not tokens:
        raise DataError("there is nothing to train on: no row was kept or relabelled")
    if blank := [row.id for row in tokens if not row.trained]:
        raise DataError(
            f"nothing of {_named(blank)} would be trained on, since the questions fill train.max_length; "
            "raise it, or leave the rows out"
        )
    ending = {token for row in tokens if not row.cut for token in row.trained if token in ends}
    if any(not row.cut and ending.isdisjoint(row.trained) for row in tokens):
        raise ConfigError(
            "train.model: its chat template ends an answer with no token at which the model stops "
            f"({', '.join(repr(tokenizer.decode([end])) for end in sorted(ends))}); choose an instruction-tuned model"
        )
    cut = [row.id for row in tokens if row.cut]
    return {
        "rows": len(tokens),
        "tokens": sum(len(row.input_ids) for row in tokens),
        "trained": sum(len(row.trained) for row in tokens),
        "longest": max(row.length for row in tokens),
        "end_of_turn": [tokenizer.decode([token]) for token in sorted(ending)],
        "cut": {"rows": len(cut), "ids": cut[:MOST_NAMED]},
    }


def told(counted: dict[str, Any]) -> list[str]:
    """Return what `count` found as lines for the user."""
    ends = ", ".join(counted["end_of_turn"]) or "nothing: every one is cut off"
    lines = [
        f"{counted['rows']} rows to train on: {counted['tokens']} tokens, of which {counted['trained']} are answers, "
        f"which end with {ends}"
    ]
    if counted["cut"]["rows"]:
        lines.append(
            f"{counted['cut']['rows']} rows are longer than train.max_length (the longest has {counted['longest']} "
            f"tokens) and lose their end: {', '.join(counted['cut']['ids'][:5])}"
        )
    return lines


def _write(row: TrainRow, tokenizer: PreTrainedTokenizerBase, *, answered: bool) -> str:
    answer = [Message(role="assistant", content=row.response)] if answered else []
    try:
        text = tokenizer.apply_chat_template(
            [*row.messages, *answer], add_generation_prompt=not answered, tokenize=False
        )
    except TemplateError as error:
        raise DataError(f"row '{row.id}' can't be trained on: the model's chat template refuses it: {error}") from error
    return str(text)


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    # the template has written the special tokens already
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def _tokens(row: str, prompt: Sequence[int], whole: Sequence[int], max_length: int) -> Tokens:
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, whole, strict=False)))
    labels = (*(IGNORED for _ in range(shared)), *whole[shared:])
    return Tokens(row, tuple(whole[:max_length]), labels[:max_length], len(whole))


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{row}'" for row in ids[:5])
    return f"row {shown}" if len(ids) == 1 else f"{len(ids)} rows ({shown}{', ...' if len(ids) > 5 else ''})"
