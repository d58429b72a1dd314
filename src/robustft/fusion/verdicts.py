"""What is believed, as records: each row's candidates with their probabilities, and whether its label is suspect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustft.fusion.fuse import Fused
from robustft.records import JUDGES, Answer, Belief, Example, Verdict, by_row
from robustft.tasks.task import Task, given


def beliefs_of(examples: Iterable[Example], fused: Fused) -> Iterator[Belief]:
    """Yield each row's belief."""
    for example, candidates, probs in zip(examples, fused.views.candidates, fused.probs, strict=True):
        yield Belief(example.id, candidates, tuple(probs[: len(candidates)].tolist()))


@dataclass(frozen=True, slots=True)
class Believed:
    """What is believed of every row, and whether enough is known for labels to be changed."""

    beliefs: Sequence[Belief]
    identified: bool


def arrays_of(
    examples: Iterable[Example], beliefs: Iterable[Belief], task: Task
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the candidates' probabilities (N, K) and the labels' places (N,), -1 where there is none.

    What is missing from 1 is that of an answer that nobody gave: it can't be trained on, so that no row is sure of it.
    """
    rows = [(belief.probs, _label(example, belief, task)) for example, belief in zip(examples, beliefs, strict=True)]
    probs = np.zeros((len(rows), max(1, *(len(own) for own, _ in rows))))
    for i, (own, _) in enumerate(rows):
        probs[i, : len(own)] = own
    return probs, np.array([label for _, label in rows])


def verdicts_of(examples: Sequence[Example], said: Iterable[Iterable[Answer]], fused: Fused) -> Iterator[Verdict]:
    """Yield each row's verdict: suspect labels are noisy, and so is a row without one.

    The confidence is the probability that the label is wrong (noisy) or right.
    """
    for i, (example, answers) in enumerate(zip(examples, by_row(examples, said), strict=True)):
        yield _verdict(i, example, answers, fused)


def _label(example: Example, belief: Belief, task: Task) -> int:
    value = given(example, task)
    if value is None:
        return -1
    return next(k for k, candidate in enumerate(belief.candidates) if task.agree(value, candidate))


def _verdict(row: int, example: Example, answers: Sequence[Answer], fused: Fused) -> Verdict:
    label, candidates = int(fused.views.label[row]), fused.views.candidates[row]
    if label < 0:
        return Verdict(example.id, True, 1.0, f"no response given; {spoken(answers)}")
    right, noisy = float(fused.probs[row, label]), bool(fused.noisy[row])
    best = int(fused.choice.answer[row])
    reason = f"p({candidates[label]}) = {right:.2f} for the given response"
    if best != label:
        reason += f", p({candidates[best]}) = {fused.probs[row, best]:.2f}"
    if fused.views.reviewed[row] >= 0:
        reason += "; reviewed"
    return Verdict(example.id, noisy, 1.0 - right if noisy else right, f"{reason}; {spoken(answers)}")


def spoken(answers: Sequence[Answer]) -> str:
    """Say who said what, and how surely."""
    parts = []
    for answer in answers:
        if answer.expert in JUDGES:
            continue
        sure = f" {max(answer.probs):.2f}" if answer.probs else ""
        parts.append(f"{answer.expert}: {answer.value or 'no answer'}{sure if answer.value else ''}")
    return ", ".join(parts) or "nobody was asked"
