"""The relabel stage: context and review are asked where the method wants them, then responses are proposed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from robustft.config import Config
from robustft.engine.local import Progress
from robustft.fusion.target import choose
from robustft.fusion.verdicts import Believed, arrays_of
from robustft.records import Answer, Example, Relabel, Verdict, by_row
from robustft.relabel.adaptive import Asked, ask_further
from robustft.relabel.neighbours import clean_neighbours, ids_shown
from robustft.relabel.review import ask_context, ask_review
from robustft.store import Stored, Taken, at_random
from robustft.tasks.task import Task
from robustft.tasks.wording import Wording
from robustft.work import Work


async def ask(work: Work, said: Sequence[Stored[Answer]], verdicts: Iterable[Verdict]) -> Asked:
    """Ask for context and review: `paper` about every noisy row, `posterior` where they can change a decision.

    `said`: what the detect stage was told. Raises ModelError when the model can't be reached at all.
    """
    examples, k = work.examples, work.config.paper.neighbours
    if work.config.method == "posterior":
        return await ask_further(work, said)
    noisy = [verdict.noisy for verdict in verdicts]
    places = [row for row, flag in enumerate(noisy) if flag]
    if work.config.method != "paper" or not places:
        return Asked()
    clean = [row for row, flag in enumerate(noisy) if not flag]
    near = await clean_neighbours(examples, places, clean, k, work.open_embedder, work.progress.note)
    _note_thin_context(len(clean), near, k, work.progress)
    asked, anywhere = Taken(examples, places), at_random(examples, work.folder)
    contexts = await ask_context(work, asked, ([anywhere[place] for place in row] for row in near))
    everything = zip(noisy, by_row(examples, [*said, contexts]), strict=True)
    reviews = await ask_review(work, asked, (answers for flag, answers in everything if flag))
    return Asked([contexts, reviews], ids_shown(examples, places, near))


def propose(
    examples: Sequence[Example],
    said: Sequence[Stored[Answer]],
    verdicts: Iterable[Verdict],
    believed: Believed | None,
    shown: Mapping[str, tuple[str, ...]],
    config: Config,
    task: Task,
) -> Iterator[Relabel]:
    """Yield a proposal for every noisy row, or (`posterior`) for every row whose likeliest answer is another one.

    `paper` proposes the reviewer's answer, `self-label` the expert's own, `self-select` and `none` nothing.
    """
    if believed is not None:
        yield from _believed(examples, believed, shown, config, task)
        return
    wording = Wording.of(examples, task)
    for example, answers, verdict in zip(examples, by_row(examples, said), verdicts, strict=True):
        if not verdict.noisy:
            continue
        if config.method == "paper":
            yield _reviewed(example, shown.get(example.id, ()), answers, wording)
        elif config.method == "self-label":
            yield _own_answer(example, answers, wording)
        else:
            yield Relabel(example.id, None, f"method {config.method} proposes no response")


def _note_thin_context(clean: int, neighbours: Sequence[Sequence[int]], k: int, progress: Progress) -> None:
    """Say where the paper's method has less context than it wants."""
    if clean == 0:
        progress.note("no row was found clean: context answers are asked without examples")
    elif short := sum(len(near) < k for near in neighbours):
        progress.note(f"{short} rows have fewer than {k} clean neighbours ({clean} rows are clean in all)")


def _believed(
    examples: Sequence[Example], believed: Believed, shown: Mapping[str, tuple[str, ...]], config: Config, task: Task
) -> Iterator[Relabel]:
    if not believed.identified:
        return
    probs, label = arrays_of(examples, believed.beliefs, task)
    choice = choose(probs, label, config.target_accuracy)
    wording = Wording.of(examples, task)
    rows = zip(examples, believed.beliefs, choice.answer.tolist(), label.tolist(), strict=True)
    for example, belief, answer, given in rows:
        if answer == given:
            continue
        ids = shown.get(example.id, ())
        if answer < len(belief.candidates):
            value = belief.candidates[answer]
            response = wording.write(value, example)
            yield Relabel(example.id, response, f"{value} is the likeliest answer", ids)
        else:
            yield Relabel(example.id, None, "likeliest is an answer that nobody gave", ids)


def _reviewed(example: Example, near: tuple[str, ...], answers: Sequence[Answer], wording: Wording) -> Relabel:
    """Return the reviewer's proposal."""
    context, review = (next(a for a in answers if a.expert == name) for name in ("context", "review"))
    if review.missing:
        return Relabel(example.id, None, review.missing, near, context.nll)
    if review.value is None:
        return Relabel(example.id, None, "the reviewer gave no readable answer", near, context.nll)
    shown = f"with {len(near)} clean neighbours as context" if near else "without context"
    reason = f"reviewed {shown}: context says {context.value or 'nothing'}, reviewer says {review.value}"
    return Relabel(example.id, wording.write(review.value, example), reason, near, context.nll)


def _own_answer(example: Example, answers: Sequence[Answer], wording: Wording) -> Relabel:
    answer = answers[0] if answers else None
    if answer is None or answer.value is None:
        return Relabel(example.id, None, "the model gave no readable answer")
    response = wording.write(answer.value, example)
    return Relabel(example.id, response, f"the model's own answer ({answer.expert})", nll=answer.nll)
