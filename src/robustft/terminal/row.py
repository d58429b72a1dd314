"""One row all the way, as text."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from robustft.records import Answer, Example
from robustft.terminal.figures import visible


def show_row(facts: dict[str, Any]) -> None:
    """Print one row all the way."""
    console = Console(soft_wrap=True, highlight=False, markup=False)

    def show(text: str) -> None:
        console.print(visible(text))

    example, decision = facts["example"], facts["decision"]
    show(f"row {example.id}\n\nquestion\n{_indent(facts['question'])}\n")
    show(f"given response: {example.response}" + (f"   (truth: {example.truth})" if example.truth else ""))
    show("\nanswers")
    for answer in facts["answers"]:
        show(f"  {answer.expert}: {_answer(answer, example)}")
    verdict = facts["verdict"]
    show(f"\nverdict: {'noisy' if verdict.noisy else 'clean'} ({verdict.confidence:.2f}): {verdict.reason}")
    if facts["neighbours"]:
        show("\nclean neighbours")
        for near in facts["neighbours"]:
            show(f"  {near.id}: {' '.join(near.messages[-1]['content'].split())[:100]} -> {near.response}")
    if facts["relabel"] is not None:
        show(f"\nproposal: {facts['relabel'].response}: {facts['relabel'].reason}")
    show(f"\ndecision: {decision.decision} -> {decision.response_final} ({decision.confidence:.2f})")
    show(f"  {decision.reason}")


def _answer(answer: Answer, example: Example) -> str:
    facts = [answer.value or "no readable answer", f"said {' '.join(answer.text.split())[:80]!r}"]
    if answer.probs is not None:
        facts.append("p " + " ".join(f"{p:.2f}" for p in answer.probs))
    if answer.nll is not None:
        facts.append(f"NLL {answer.nll:.3f}")
    return ", ".join(facts)


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
