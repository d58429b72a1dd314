"""What `robustft doctor` has found of an endpoint: a small file in the cache folder, from which later runs start."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustft.run import fingerprint, write_atomically

MOST = 20
"""Alternatives a token that the API lets anyone ask for."""
FRESH = timedelta(days=30)
"""Older findings count for nothing: servers change."""


class Capabilities(BaseModel):
    """What an endpoint takes and gives for one model. Holds no key and nothing that the server wrote."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    endpoint: str
    """Its address, as in the model's identity."""
    model: str
    """The model's name there."""
    found: date
    """The day on which this was found."""
    length: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How it wants the length limit to be named."""
    takes_logprobs: bool = True
    """Whether it takes requests for log-probabilities at all; whether it then gives some is `gives_logprobs`."""
    takes_alternatives: int = Field(default=MOST, ge=0, le=MOST)
    """The most alternatives a token that may be asked for."""
    gives_logprobs: bool | None = None
    """Whether its answers carry the log-probabilities of their tokens, in a form that can be read; null: not known."""
    gives_scores: bool | None = None
    """Whether it scores a given text (prompt_logprobs); null: not known."""
    chooses: bool | None = None
    """Whether it holds a reply to a list of choices (structured_outputs); null: not known."""

    @property
    def lesson(self) -> str:
        """How it is asked differently from any other server; '' where it isn't."""
        parts = [f"with {self.length}"] if self.length != "max_tokens" else []
        if not self.takes_logprobs:
            parts.append("without logprobs")
        elif self.takes_alternatives < MOST:
            parts.append(f"for {self.takes_alternatives} alternatives a token at most")
        return " and ".join(parts)


def place(endpoint: str, model: str) -> Path:
    """Return the file of an endpoint and a model."""
    return user_cache_path("robustft") / "endpoints" / f"{fingerprint(endpoint, model)[:16]}.json"


def keep(found: Capabilities) -> Path:
    """Write what was found over what was known. Returns the file. Raises OSError."""
    content = found.model_dump_json(indent=2).encode() + b"\n"
    return write_atomically(place(found.endpoint, found.model), lambda path: path.write_bytes(content))


def recall(endpoint: str, model: str, today: date | None = None) -> Capabilities | None:
    """Return what is known, None where nothing is, the file can't be read, or what it says is too old."""
    try:
        known = Capabilities.model_validate_json(place(endpoint, model).read_bytes())
    except (OSError, ValidationError):
        return None
    return known if (today or date.today()) - known.found <= FRESH else None
