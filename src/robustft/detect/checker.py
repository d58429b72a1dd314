"""From a row's answers to a verdict on its given response: the unanimity rule, and the two LLM judges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from robustft.llm.client import LLM, Sampling, Tag
from robustft.prompts import Prompt
from robustft.records import JUDGES, Answer, Example, Verdict
from robustft.tasks.task import Task, given

AGENT = Prompt(
    "agent",
    "You check the labels of a data set.\n\nQuestion:\n{question}\n\nGiven answer: {given}\n\n"
    "Answers of other readers:\n{answers}\n\nIs the given answer wrong? Weigh the arguments, not the number of "
    "votes. Reply with one line:\nWrong: Y or N",
    frozenset({"question", "given", "answers"}),
)
SELF_SELECT = Prompt(
    "self_select",
    "Question:\n{question}\n\nGiven answer: {given}\n\nIs the given answer wrong? Reply with one line:\nWrong: Y or N",
    frozenset({"question", "given"}),
)

_YES_NO = re.compile(r"(?:wrong\s*:|^)[\s*_(\[]*(yes|no|y|n)\b", re.IGNORECASE | re.MULTILINE)


def unanimous(label: str | None, answers: Sequence[Answer], task: Task) -> tuple[bool, float, str]:
    """Judge a label by the paper's rule: clean only if every expert's answer agrees with it.

    `label` is the given response's value, None where there is none. Returns (noisy, confidence, reason). An abstention
    can't confirm a label, nor contradict it: it makes the row noisy without adding to the confidence, which is the
    share of experts that say so (the paper has no confidence; arXiv 2412.14922, section 3.2).
    """
    if label is None:
        return True, 1.0, "no response given"
    against = [a for a in answers if a.value is not None and not task.agree(a.value, label)]
    abstained = [a for a in answers if a.value is None]
    if not against and not abstained:
        return False, 1.0, f"all of {_names(answers)} agree with the given response"
    parts = [f"{a.expert} says {a.value}" for a in against] + [f"{a.expert} gave no answer" for a in abstained]
    return True, len(against) / len(answers), f"not unanimous: {', '.join(parts)}"


def judged(judge: Answer, others: Sequence[Answer], label: str, task: Task) -> tuple[bool, float, str]:
    """Judge a label by a judge's 'Y' (it is wrong) or 'N'.

    Returns (noisy, confidence, reason). A judge that can't be read says nothing: unanimity of the others decides
    then, and where there are no others the label stays.
    """
    if judge.value is not None:
        return judge.value == "Y", 1.0, f"{judge.expert} says {'wrong' if judge.value == 'Y' else 'right'}"
    if others:
        return unanimous(label, others, task)
    return False, 0.0, f"{judge.expert} gave no answer, so the response stays"


def verdict(example: Example, answers: Sequence[Answer], task: Task) -> Verdict:
    """Judge one row by its judge where there is one (`agent`, `self-select`), else by unanimity."""
    label = given(example, task)
    judges = [answer for answer in answers if answer.expert in JUDGES]
    others = [answer for answer in answers if answer.expert not in JUDGES]
    if label is not None and judges:
        noisy, confidence, reason = judged(judges[-1], others, label, task)
    elif label is not None and not others:
        noisy, confidence, reason = False, 0.0, "nobody was asked"
    else:
        noisy, confidence, reason = unanimous(label, others, task)
    return Verdict(example.id, noisy, confidence, reason)


@dataclass(frozen=True, slots=True)
class Judge:
    """An LLM that is shown the given response and says whether it is wrong.

    With answers of other experts and their reasoning it is the agent; with none, the SelfSelect baseline.
    """

    task: Task
    sampling: Sampling
    prompt: Prompt
    name: str

    async def answer(self, example: Example, others: Sequence[Answer], llm: LLM) -> Answer:
        """Ask for Y (wrong) or N. Raises ModelError."""
        *earlier, last = self.task.render(example)
        slots = {"question": last["content"], "given": example.response or ""}
        if "answers" in self.prompt.slots:
            slots["answers"] = "\n".join(_argument(other) for other in others)
        messages = [*earlier, last | {"content": self.prompt.fill(**slots)}]
        completion = await llm.complete(messages, self.sampling, Tag(example.id, self.name))
        return Answer(
            id=example.id,
            expert=self.name,
            text=completion.text,
            value=read_yes_no(completion.text),
            reasoning=completion.reasoning,
            finish=completion.finish,
            tokens_in=completion.usage.prompt_tokens,
            tokens_out=completion.usage.completion_tokens,
        )


def read_yes_no(text: str) -> str | None:
    """Read 'Y' or 'N' from a judge's reply; None if there is neither, or both."""
    found = {match[0].upper() for match in _YES_NO.findall(text)}
    return found.pop() if len(found) == 1 else None


def _argument(answer: Answer) -> str:
    said = (answer.reasoning + "\n" + answer.text).strip() or "(nothing)"
    return f"- {answer.expert}: {said}"


def _names(answers: Sequence[Answer]) -> str:
    return ", ".join(a.expert for a in answers)
