"""Method posterior selects: rows from the most confident down, as far as their mean confidence meets the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from robustft.config import Config
from robustft.fusion.target import Choice, choose, keep_labels
from robustft.fusion.verdicts import Believed, arrays_of
from robustft.records import Answer, Belief, Decision, Example, Outcome, Verdict, by_row
from robustft.tasks.task import Task, given
from robustft.tasks.wording import Wording


def decide_by_belief(
    examples: Sequence[Example],
    said: Sequence[Iterable[Answer]],
    believed: Believed,
    verdicts: Iterable[Verdict],
    config: Config,
    task: Task,
) -> Iterator[Decision]:
    """Yield one decision a row, in the rows' order.

    Taken rows are kept where the likeliest answer is the response as given, else relabelled. Of the others, the
    likeliest to be right are set aside for review, as many as the config says, and those where a call failed; the
    rest is dropped. Where nothing is identified every labelled row is kept as it is.
    """
    beliefs, identified = believed.beliefs, believed.identified
    probs, label = arrays_of(examples, beliefs, task)
    choice = choose(probs, label, config.target_accuracy) if identified else keep_labels(label, probs)
    wording = Wording.of(examples, task)
    nobody = np.array([not belief.candidates for belief in beliefs])
    reviewable = np.flatnonzero(~choice.taken | nobody)
    order = reviewable[np.argsort(-choice.confidence[reviewable], kind="stable")]
    aside = frozenset(order[: config.posterior.review].tolist())
    for i, row in enumerate(zip(examples, beliefs, verdicts, by_row(examples, said), strict=True)):
        yield _decision(_Row(i, *row), choice, i in aside, identified, wording)


@dataclass(frozen=True, slots=True)
class _Row:
    place: int
    example: Example
    belief: Belief
    verdict: Verdict
    said: Sequence[Answer]


def _decision(row: _Row, choice: Choice, aside: bool, identified: bool, wording: Wording) -> Decision:
    example, answer, task = row.example, int(choice.answer[row.place]), wording.task
    value = row.belief.candidates[answer] if answer < len(row.belief.candidates) else None
    label = given(example, task)
    as_given = value is not None and label is not None and task.agree(value, label)
    final = example.response
    if value is not None and not as_given:
        final = wording.write(value, example)
    missing = next((answer.missing for answer in row.said if answer.missing), None)
    outcome: Outcome
    sure = float(choice.confidence[row.place])
    if choice.taken[row.place] and value is not None:
        outcome = "keep" if as_given else "relabel"
        why = "" if identified else "; labels stay, since nothing is identified"
    elif missing is not None:
        outcome, why = "review", f"; {missing}"
    else:
        outcome = "review" if aside else "drop"
        why = f"; {value or 'another answer'} at {sure:.2f} is too unsure for a target of {choice.target:.3g}"
    return Decision(
        id=example.id,
        decision=outcome,
        response_given=example.response,
        response_final=final,
        confidence=sure,
        reason=row.verdict.reason + why,
        votes={answer.expert: answer.value for answer in row.said},
    )
