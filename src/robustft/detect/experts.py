"""The experts: each answers a row's question without seeing the response that it was given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from robustft.config import POSTERIOR_ONLY, Config
from robustft.errors import ConfigError
from robustft.llm import asking
from robustft.llm.client import LLM, Sampling, Tag
from robustft.prompts import Prompt
from robustft.records import Answer, Example, Message
from robustft.tasks.options import letters
from robustft.tasks.task import Reading, Task

DIRECT = Prompt(
    "direct",
    "{question}\n\nAnswer directly, without any explanation. Reply with one line only:\nAnswer: {answer_form}",
    frozenset({"question", "answer_form"}),
)
REASONING = Prompt(
    "reasoning",
    "{question}\n\nThink it through step by step. Then look back over your steps, ask yourself what could be wrong "
    "with them, and mend what is. End with one line:\nAnswer: {answer_form}",
    frozenset({"question", "answer_form"}),
)
REFLECT = Prompt(
    "reflect",
    "Read your reasoning again as a critic: is each step right, was anything overlooked, does the answer follow? "
    "Write a revised reasoning, and end with one line:\nAnswer: {answer_form}",
    frozenset({"answer_form"}),
)
LIKELIHOOD = Prompt("likelihood", "{question}", frozenset({"question"}))


class Expert(Protocol):
    """One way of answering a question."""

    @property
    def name(self) -> str:
        """The name its answers carry."""
        ...

    async def answer(self, example: Example, llm: LLM) -> Answer:
        """Answer the row's question. Raises ModelError."""
        ...

    def sampled(self, number: int) -> Expert:
        """Return the expert whose answers are draws of their own: 2 is the first beside its own, 3 the next, ..."""
        ...


@dataclass(frozen=True, slots=True)
class Direct:
    """The answer at once (the paper's base view).

    The paper has it written freely, and a text that can't be read is lost. Method posterior needs the options'
    probabilities alone, and asks for the one token that tells them (`chooses`).
    """

    task: Task
    sampling: Sampling
    reading: Reading = "tolerant"
    prompt: Prompt = DIRECT
    name: str = "direct"
    chooses: bool = False

    async def answer(self, example: Example, llm: LLM) -> Answer:
        """Ask for the answer line alone; where it `chooses`, for nothing but an option's letter in it."""
        messages = asking.wrap(self.task.render(example), self.prompt, answer_form=self.task.answer_form)
        sampling = self.sampling
        if self.chooses and example.options:
            choices = tuple(f" {letter}" for letter in letters(len(example.options)))
            sampling = replace(sampling, prefix="Answer:", choices=choices)
        return await asking.generate(llm, self.task, example, self.name, messages, sampling, self.reading)

    def sampled(self, number: int) -> Direct:
        """Draw anew."""
        return replace(self, sampling=replace(self.sampling, sample=number - 1), name=f"{self.name}/{number}")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reason, reflect, revise (the paper's second view).

    The paper iterates; its code asks once for reasoning and reflection in one prompt. `rounds` = 1 is the code.
    """

    task: Task
    sampling: Sampling
    rounds: int = 1
    reading: Reading = "tolerant"
    prompt: Prompt = REASONING
    reflect: Prompt = REFLECT
    name: str = "reasoning"

    async def answer(self, example: Example, llm: LLM) -> Answer:
        """Ask, then ask `rounds` - 1 times for a revision; the last text is the answer, tokens add up."""
        messages = asking.wrap(self.task.render(example), self.prompt, answer_form=self.task.answer_form)
        answer = await self._ask(llm, example, messages, 0)
        for number in range(1, self.rounds):
            messages = [
                *messages,
                Message(role="assistant", content=answer.text),
                Message(role="user", content=self.reflect.fill(answer_form=self.task.answer_form)),
            ]
            revised = await self._ask(llm, example, messages, number)
            answer = replace(
                revised,
                tokens_in=answer.tokens_in + revised.tokens_in,
                tokens_out=answer.tokens_out + revised.tokens_out,
            )
        return answer

    async def _ask(self, llm: LLM, example: Example, messages: list[Message], number: int) -> Answer:
        sampling = replace(self.sampling, sample=self.sampling.sample * self.rounds + number)
        return await asking.generate(llm, self.task, example, self.name, messages, sampling, self.reading)

    def sampled(self, number: int) -> Reasoning:
        """Draw anew."""
        return replace(self, sampling=replace(self.sampling, sample=number - 1), name=f"{self.name}/{number}")


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Scores the text of each option as the next turn; no generation, so no format to follow, and no list of options.

    `blank_prior` subtracts the options' log p where the question is left out, which takes away what the model says
    whatever it is asked (domain-conditional PMI, Holtzman et al. 2021).
    """

    task: Task
    normalise: bool = False
    blank_prior: bool = False
    prompt: Prompt = LIKELIHOOD
    name: str = "likelihood"

    async def answer(self, example: Example, llm: LLM) -> Answer:
        """Answer with the likeliest option, of none with an abstention; `probs` are the options' shares."""
        if not example.options:
            return asking.silent(example, self.name)
        messages = asking.wrap(self.task.render(example, listed=False), self.prompt)
        if not self.blank_prior:
            return await asking.score(llm, example, self.name, messages, normalise=self.normalise)
        blank = replace(example, messages=(Message(role="user", content=""),))
        without = asking.wrap(self.task.render(blank, listed=False), self.prompt)
        scores = await llm.score(messages, example.options, Tag(example.id, self.name))
        prior = await llm.score(without, example.options, Tag(example.id, self.name))
        logits = np.array(scores.logprobs) - np.array(prior.logprobs)
        if self.normalise:
            logits = logits / np.array(scores.tokens)
        return asking.scored(example, self.name, logits, scores.usage.prompt_tokens + prior.usage.prompt_tokens)

    def sampled(self, number: int) -> Likelihood:
        """Return itself: nothing is drawn."""
        return self


def make_experts(config: Config, task: Task) -> list[Expert]:
    """Return the experts that the config names, `agent` aside (the checker asks it after the others)."""
    if "likelihood" in config.experts and config.task.kind != "choice":
        raise ConfigError(f"experts: likelihood scores options, and a '{config.task.kind}' task has none; leave it out")
    if config.method != "posterior" and (odd := POSTERIOR_ONLY.intersection(config.experts)):
        raise ConfigError(f"experts: {', '.join(sorted(odd))}: only method posterior can ask them, not {config.method}")
    if config.method == "posterior" and "agent" in config.experts:
        raise ConfigError("experts: agent has no probabilities and reads the label; method posterior can't ask it")
    sampling = asking.answer_sampling(config)
    rounds = config.paper.rounds or (1 if config.paper.variant == "released" else 3)
    reading, prompts = config.task.reading, config.prompts
    known: dict[str, Expert] = {
        # whoever words the prompt says what the answer is to look like
        "direct": Direct(
            task,
            sampling,
            reading,
            DIRECT.overridden(prompts.direct),
            chooses=config.method == "posterior" and config.task.kind == "choice" and prompts.direct is None,
        ),
        "reasoning": Reasoning(
            task,
            sampling,
            rounds,
            reading,
            REASONING.overridden(prompts.reasoning),
            REFLECT.overridden(prompts.reflect),
        ),
        "likelihood": Likelihood(
            task,
            config.likelihood.normalise,
            config.likelihood.prior == "blank",
            LIKELIHOOD.overridden(prompts.likelihood),
        ),
    }
    return [known[name] for name in config.experts if name in known]
