"""Method posterior asks: the first expert about every row, each further one where it can change a decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from robustft.detect.experts import Expert, make_experts
from robustft.errors import ConfigError
from robustft.fusion.fitting import Priors
from robustft.fusion.fuse import Fused, fuse, in_turn, worthwhile
from robustft.fusion.probe import partitions_of, with_probe
from robustft.fusion.views import PROBE, Rows, Views, views_of
from robustft.llm import asking
from robustft.records import Answer, Example
from robustft.store import Spool, Stored, Taken
from robustft.work import Work


async def ask_until_sure(work: Work) -> tuple[list[Stored[Answer]], Fused]:
    """Ask the config's experts in turn, and fuse what they say; context and review belong to the relabel stage.

    Returns what each of them said, the probe among them, and what is believed then. Raises ModelError when the model
    can't be reached at all, ConfigError when nobody can be asked.
    """
    config = work.config
    experts = make_experts(config, work.task)
    rows = Rows.of(work.examples, work.task, work.reviewed)
    said: list[Stored[Answer]] = []
    if experts:
        said += await _asked(experts[0], work.examples, work)

    def seen(more: Sequence[Stored[Answer]] = ()) -> Views:
        return views_of(rows, [*said, *more], config.experts, work.task)

    if PROBE in config.experts:
        said += await _probe(seen(), work)
    fused = fuse(seen(), config)
    for expert in experts[1:]:
        first, further = in_turn(fused, config)
        if not len(first):
            continue
        turns = await _asked(expert, Taken(work.examples, first), work)
        if len(further) and worthwhile(fused, seen(turns), expert.name, config):
            turns += await _asked(expert, Taken(work.examples, further), work, ", further")
            asked = Taken(work.examples, np.union1d(first, further))
            turns = asking.in_row_order(asked, turns, work.folder)
        said += turns
        fused = fuse(seen(), config)
    return said, fused


async def _asked(expert: Expert, examples: Sequence[Example], work: Work, turn: str = "") -> list[Stored[Answer]]:
    """Ask one expert about some rows; more samples where an answer comes without any log-probabilities.

    `turn` is put behind its name where this is not the first of its turns.
    """
    config = work.config

    async def ask(one: Expert, rows: Sequence[Example]) -> Stored[Answer]:
        (answers,) = await asking.ask_all(one.name + turn, [one.name], one.answer, zip(rows), len(rows), work)
        return answers

    answers = await ask(expert, examples)
    if expert.name == "likelihood" and config.likelihood.prior == "batch":
        answers = asking.batch_corrected(answers, examples, work.folder)
    said = [answers]
    blind = np.flatnonzero([_gives_no_numbers(answer) for answer in answers])
    for number in range(2, config.posterior.samples + 1 if len(blind) else 0):
        said.append(await ask(expert.sampled(number), Taken(examples, blind)))
    return said


def _gives_no_numbers(answer: Answer) -> bool:
    return answer.value is not None and answer.probs is None and answer.nll is None


async def _probe(views: Views, work: Work) -> list[Stored[Answer]]:
    """Return the cross-fitted classifier's answers; none where options mean another thing in every row.

    Raises ConfigError where nobody else has answered then.
    """
    if not views.shared and not views.names:
        raise ConfigError(
            "experts: probe needs options that mean the same in every row, and these don't; "
            "name likelihood, direct or reasoning"
        )
    if not views.shared:
        work.progress.note("the probe needs options that mean the same in every row, and these don't: left out")
        return []
    examples, config = work.examples, work.config
    work.progress.start(PROBE, len(examples))
    embeddings = await (await work.open_embedder()).embed([example.asked for example in examples])
    priors = Priors(config.posterior.prior_accuracy)
    with threadpool_limits(1, "blas"):
        partitions = partitions_of(embeddings, config.seed)
        seen, _ = with_probe(views.of_llm(), embeddings, partitions, priors, config.posterior.noise)
    work.progress.advance(len(examples))
    work.progress.finish()
    answers = Spool(Answer, work.folder)
    for example, logp in zip(examples, seen.logp[:, -1], strict=True):
        answers.add(asking.scored(example, PROBE, logp, 0))
    return [answers.stored()]
