"""The eight benchmark tasks of RobustFT (arXiv 2412.14922) as config fragments: defaults for `task` and `data`."""

from __future__ import annotations

from typing import Any


def _preset(name: str, kind: str, instruction: str) -> dict[str, Any]:
    # No truth_path: it would stay behind when a user points data.path at a file of their own.
    return {
        "task": {"kind": kind, "instruction": instruction, "target": "Answer: {answer}"},
        "data": {"path": f"hf://luojunyu/RobustFT/{name}/noisy30", "question": "question", "response": "answer"}
        | ({"options": "options"} if kind == "choice" else {}),
    }


PRESETS: dict[str, dict[str, Any]] = {
    # On the hub, with splits labeled (the truth), noisy30, noisy50, noisy70 and test
    "arc": _preset("arc", "choice", "Answer this science exam question with the one option that is right."),
    "drop": _preset(
        "drop",
        "short",
        "Read the passage and answer the question about it with a word, a short phrase from the passage, or a number.",
    ),
    "fpb": _preset(
        "fpb",
        "choice",
        "Say how an investor would take this sentence from the financial news: as negative, neutral or positive.",
    ),
    "mmlu": _preset("mmlu", "choice", "Answer this exam question with the one option that is right."),
    "pubmedqa": _preset(
        "pubmedqa",
        "choice",
        "Answer the research question from the abstract alone; choose Maybe only where the abstract leaves it open.",
    ),
    # Named by the released config only; not on the hub when this was written, so set data.path to your own copy
    "mmlu_pro": _preset("mmlu_pro", "choice", "Answer this exam question with the one option that is right."),
    "usmle": _preset(
        "usmle", "choice", "Answer this medical licensing question with the one option that fits the case best."
    ),
    "convfinqa": _preset(
        "convfinqa",
        "number",
        "Work out the figure that the question asks for from the financial report, in the units that it uses.",
    ),
}
