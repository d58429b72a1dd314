"""What is believed, as records: each row's candidates with their probabilities, and whether its label is suspect."""

from __future__ import annotations

from collections.abc import Sequence

from robustft.fusion.fuse import Fused
from robustft.records import JUDGES, Answer, Belief, Example, Verdict, said_by_row


def beliefs_of(examples: Sequence[Example], fused: Fused) -> list[Belief]:
    """Return each row's belief."""
    rows = zip(examples, fused.views.candidates, fused.probs.tolist(), strict=True)
    return [Belief(example.id, candidates, tuple(probs[: len(candidates)])) for example, candidates, probs in rows]


def verdicts_of(examples: Sequence[Example], answers: Sequence[Answer], fused: Fused) -> list[Verdict]:
    """Return each row's verdict: suspect labels are noisy, and so is a row without one.

    The confidence is the probability that the label is wrong (noisy) or right.
    """
    said = said_by_row(answers)
    return [_verdict(i, example, said[example.id], fused) for i, example in enumerate(examples)]


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
