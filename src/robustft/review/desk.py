"""What lies before the person: the queue of rows, all that is known of each, and the verdicts so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from robustft.config import Config
from robustft.errors import ConfigError
from robustft.llm.embedder import tfidf
from robustft.records import TRAINED_ON, Answer, Belief, Decision, Example, Relabel
from robustft.relabel.nearest import nearest
from robustft.report.columns import readable
from robustft.review.queue import Wanted, queue
from robustft.review.verdicts import Drawn, PersonVerdict, PersonVerdicts, content_of, verdict_file
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.tasks.options import letters
from robustft.tasks.task import given

NEIGHBOURS = 3
"""Clean rows that are shown beside a row."""


class Desk:
    """A run that is being reviewed. Raises RobustFTError where the run isn't finished as far as its decisions."""

    def __init__(self, run: RunDir, config: Config, wanted: Wanted) -> None:
        self.run, self.config = run, config
        self.task = make_task(config.task)
        self.examples, self.decisions = list(run.load(Example)), list(run.load(Decision))
        self.beliefs = list(run.load(Belief)) if config.method == "posterior" else None
        self.relabels = {relabel.id: relabel for relabel in run.load(Relabel)}
        self.verdicts = PersonVerdicts(verdict_file(run, config))
        self.drawn: Drawn = "random" if wanted.random is not None else "chosen"
        self.places = queue(self.examples, self.decisions, self.beliefs, wanted, config.seed)
        self._said: list[str] = []

    def state(self) -> dict[str, Any]:
        """Return how far the person is: rows, those with a verdict, and the first without one."""
        done = [self.verdicts.of(self.examples[place]) is not None for place in self.places]
        return {
            "name": self.run.path.name,
            "rows": len(done),
            "done": sum(done),
            "next": done.index(False) if False in done else None,
            "drawn": self.drawn,
            "open": not any(example.options for example in self.examples),
        }

    def row(self, position: int) -> dict[str, Any]:
        """Return all that is known of the row at a position of the queue."""
        place = self.places[position]
        example, decision = self.examples[place], self.decisions[place]
        verdict = self.verdicts.of(example)
        return {
            "position": position,
            "id": example.id,
            "messages": [{"role": m["role"], "content": m["content"]} for m in self.task.render(example, listed=False)],
            "given": self._text(given(example, self.task), example) or example.response,
            "final": self._text(self._value(decision.response_final, example), example),
            "decision": decision.decision,
            "confidence": decision.confidence,
            "reason": decision.reason,
            "candidates": self._candidates(place),
            "votes": [
                {
                    "expert": answer.expert,
                    "value": self._text(answer.value, example),
                    "sure": max(answer.probs) if answer.probs else None,
                    "text": answer.text[:2000],
                }
                for answer in self._answers.get(example.id, ())
            ],
            "verdict": None
            if verdict is None
            else {"value": verdict.value, "text": self._text(verdict.value, example), "drawn": verdict.drawn},
        }

    def neighbours(self, position: int) -> list[dict[str, Any]]:
        """Return the clean rows that were shown as context; where none were, those nearest by their words."""
        place = self.places[position]
        example = self.examples[place]
        shown = self.relabels[example.id].context_ids if example.id in self.relabels else ()
        near = [self._places[row] for row in shown] or self._nearest_words(place)
        return [self._neighbour(self.examples[other], self.decisions[other]) for other in near]

    def say(self, position: int, what: str, value: str | None = None) -> None:
        """Save a verdict: keep (the given response is right), drop (leave it out) or answer (with a value).

        Raises ConfigError for an answer that can't be read, or a row without a response that is to be kept.
        """
        example = self.examples[self.places[position]]
        if what == "keep":
            value = given(example, self.task)
            if value is None:
                raise ConfigError("there is no given response that could be kept; choose an answer, or drop the row")
        elif what == "answer":
            value = self._value(value, example)
            if value is None:
                raise ConfigError("this can't be read as an answer")
        elif what == "drop":
            value = None
        else:
            raise ConfigError(f"no verdict '{what}'; there are keep, drop and answer")
        content = content_of(example)
        self.verdicts.say(PersonVerdict(content, example.id, value, self.drawn))
        self._said.append(content)

    def undo(self) -> int | None:
        """Take the last verdict of this sitting back. Returns its row's position, None where there is none."""
        if not self._said:
            return None
        content = self._said.pop()
        self.verdicts.take_back(content)
        return next(
            (i for i, place in enumerate(self.places) if content_of(self.examples[place]) == content),
            None,
        )

    def _candidates(self, place: int) -> list[dict[str, Any]]:
        """Return the answers to choose from, a choice's in the order of its options, others the likeliest first."""
        example = self.examples[place]
        probs = self._probs(place)
        if not example.options:
            heard = [answer.value for answer in self._answers.get(example.id, ()) if answer.value is not None]
            values = list(dict.fromkeys([*sorted(probs, key=lambda v: -probs[v]), *heard]))
            values = values or [value for value in (given(example, self.task),) if value is not None]
        else:
            values = list(letters(len(example.options)))
        label = given(example, self.task)
        return [
            {
                "value": value,
                "text": self._text(value, example),
                "prob": probs.get(value),
                "given": label is not None and self.task.agree(value, label),
            }
            for value in values
        ]

    def _probs(self, place: int) -> Mapping[str, float]:
        if self.beliefs is None:
            return {}
        belief = self.beliefs[place]
        return dict(zip(belief.candidates, belief.probs, strict=True))

    def _neighbour(self, example: Example, decision: Decision) -> dict[str, Any]:
        response = self._text(self._value(decision.response_final, example), example)
        return {"id": example.id, "question": example.asked[:400], "response": response or decision.response_final}

    def _nearest_words(self, place: int) -> Sequence[int]:
        clean = [i for i, d in enumerate(self.decisions) if d.decision in TRAINED_ON and d.confidence >= 0.9]
        if not clean:
            return []
        groups = np.arange(len(self.examples))
        pool = np.array(clean)
        (found,) = nearest(self._vectors[[place]], self._vectors[pool], NEIGHBOURS, groups[[place]], groups[pool])
        return [clean[i] for i in found]

    @cached_property
    def _vectors(self) -> np.ndarray:
        return tfidf([example.asked for example in self.examples])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {example.id: place for place, example in enumerate(self.examples)}

    @cached_property
    def _answers(self) -> dict[str, list[Answer]]:
        wanted = {self.examples[place].id for place in self.places}
        found: dict[str, list[Answer]] = {}
        for answer in self.run.load(Answer):
            if answer.id in wanted:
                found.setdefault(answer.id, []).append(answer)
        return found

    def _value(self, response: str | None, example: Example) -> str | None:
        return None if response is None else self.task.label(response, example.options)

    def _text(self, value: str | None, example: Example) -> str | None:
        return readable(value, example.options)
