"""One row all the way, as text."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from robustft.records import Answer, Example


def show_row(facts: dict[str, Any]) -> None:
    """Print one row all the way."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    example, decision = facts["example"], facts["decision"]
    console.print(f"row {example.id}\n\nquestion\n{_indent(facts['question'])}\n")
    console.print(f"given response: {example.response}" + (f"   (truth: {example.truth})" if example.truth else ""))
    console.print("\nanswers")
    for answer in facts["answers"]:
        console.print(f"  {answer.expert}: {_answer(answer, example)}")
    verdict = facts["verdict"]
    console.print(f"\nverdict: {'noisy' if verdict.noisy else 'clean'} ({verdict.confidence:.2f}): {verdict.reason}")
    if facts["neighbours"]:
        console.print("\nclean neighbours")
        for near in facts["neighbours"]:
            console.print(f"  {near.id}: {' '.join(near.messages[-1]['content'].split())[:100]} -> {near.response}")
    if facts["relabel"] is not None:
        console.print(f"\nproposal: {facts['relabel'].response}: {facts['relabel'].reason}")
    console.print(f"\ndecision: {decision.decision} -> {decision.response_final} ({decision.confidence:.2f})")
    console.print(f"  {decision.reason}")


def _answer(answer: Answer, example: Example) -> str:
    facts = [answer.value or "no readable answer", f"said {' '.join(answer.text.split())[:80]!r}"]
    if answer.probs is not None:
        facts.append("p " + " ".join(f"{p:.2f}" for p in answer.probs))
    if answer.nll is not None:
        facts.append(f"NLL {answer.nll:.3f}")
    return ", ".join(facts)


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
