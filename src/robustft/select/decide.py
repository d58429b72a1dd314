"""The select stage: exactly one decision for every row of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from robustft.config import Config
from robustft.records import JUDGES, Answer, Decision, Example, Outcome, Relabel, Verdict, by_row
from robustft.select.entropy import below_median, lowest_share
from robustft.tasks.task import Task, given


def decide(
    examples: Sequence[Example],
    said: Sequence[Iterable[Answer]],
    verdicts: Iterable[Verdict],
    relabels: Sequence[Relabel],
    config: Config,
    task: Task,
) -> Iterator[Decision]:
    """Yield one decision a row, in the rows' order.

    Clean rows are kept. A noisy row with a proposal is relabelled (or kept, where the proposal is the response as
    given) if the proposal is selected: for `paper`, by the context answer's NLL; a row without log-probabilities
    can't be ranked and is set aside for review. Rows with no proposal are dropped, or, where a call failed, set aside.
    """
    selected = _selected(relabels, config)
    rows = zip(examples, verdicts, by_row(examples, [relabels]), by_row(examples, said), strict=True)
    for example, verdict, proposals, answers in rows:
        yield _decision(example, verdict, next(iter(proposals), None), selected, answers, task)


def _selected(relabels: Sequence[Relabel], config: Config) -> frozenset[str]:
    """Return the ids of the proposals that are sure enough."""
    proposed = [proposal for proposal in relabels if proposal.response is not None]
    if config.method != "paper":
        return frozenset(proposal.id for proposal in proposed)
    nll = np.array([np.nan if p.nll is None else p.nll for p in proposed])
    chosen = below_median(nll) if config.paper.variant == "released" else lowest_share(nll)
    return frozenset(proposal.id for proposal, sure in zip(proposed, chosen, strict=True) if sure)


def _decision(
    example: Example,
    verdict: Verdict,
    proposal: Relabel | None,
    selected: frozenset[str],
    said: Sequence[Answer],
    task: Task,
) -> Decision:
    final = example.response
    votes = {answer.expert: answer.value for answer in said}
    missing = next((answer.missing for answer in said if answer.missing), None)
    outcome: Outcome
    if missing is not None:
        outcome, reason = "review", missing
    elif not verdict.noisy:
        outcome, reason = "keep", verdict.reason
    elif proposal is None or proposal.response is None:
        outcome, reason = "drop", f"{verdict.reason}; {proposal.reason if proposal else 'no new response'}"
    else:
        final = proposal.response
        outcome, reason = _of_proposal(proposal, _same(task, example, final), sure=example.id in selected)
        reason = f"{verdict.reason}; {reason}"
    return Decision(
        id=example.id,
        decision=outcome,
        response_given=example.response,
        response_final=final,
        confidence=_support(example, final, votes, task),
        reason=reason,
        votes=votes,
    )


def _of_proposal(proposal: Relabel, as_given: bool, *, sure: bool) -> tuple[Outcome, str]:
    if sure:
        return ("keep", f"{proposal.reason}, as given") if as_given else ("relabel", proposal.reason)
    if proposal.nll is None:
        return "review", f"{proposal.reason}; no log-probabilities, so its confidence is unknown"
    return "drop", f"{proposal.reason}; too unsure (NLL {proposal.nll:.3f} nats per token is not below the median)"


def _same(task: Task, example: Example, response: str) -> bool:
    label, value = given(example, task), task.label(response, example.options)
    return label is not None and value is not None and task.agree(label, value)


def _support(example: Example, final: str | None, votes: Mapping[str, str | None], task: Task) -> float:
    """Return the share of the votes, the given response among them, that agree with the final response.

    The paper's method has no calibrated confidence; this one only says how many were of that opinion.
    """
    value = None if final is None else task.label(final, example.options)
    if value is None:
        return 0.0
    opinions = [given(example, task), *(vote for expert, vote in votes.items() if expert not in JUDGES)]
    cast = [opinion for opinion in opinions if opinion is not None]
    return sum(task.agree(vote, value) for vote in cast) / len(cast) if cast else 0.0
