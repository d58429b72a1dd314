"""What a visit found: one finding a check, whether a run can go on, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robustft.llm.openai.capabilities import Capabilities

Result = Literal["ok", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to: what was `seen`, and what a `run` does about it, or the way out.

    `degraded`: a run goes on, with less or otherwise than could be; `failed`: it can't.
    """

    result: Result
    seen: str
    run: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings by the name of their check, in order. `examined` is what was examined.

    `kept` is what later runs start from, `file` where it lies; both None where the visit ended early, or there is no
    endpoint. `requests`, `prompt_tokens` and `completion_tokens` are what the visit took.
    """

    examined: str
    findings: Mapping[str, Finding]
    kept: Capabilities | None = None
    file: Path | None = None
    spent: Mapping[str, int] = field(default_factory=dict)

    @property
    def obstacle(self) -> str | None:
        """Why a run can't go on, in one line; None where it can."""
        for check, finding in self.findings.items():
            if finding.result == "failed":
                return f"{check}: {finding.seen}: {finding.run}"
        return None

    def as_json(self) -> dict[str, Any]:
        """Return plain values: examined, can_run, why, findings, capabilities, file, spent."""
        return {
            "examined": self.examined,
            "can_run": self.obstacle is None,
            "why": self.obstacle,
            "findings": self.findings,
            "capabilities": self.kept.model_dump(mode="json") if self.kept else None,
            "file": str(self.file) if self.file else None,
            "spent": self.spent,
        }
