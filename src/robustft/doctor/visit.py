"""A visit to an endpoint: asks as a run would, learns how it wants to be asked, and remembers what was seen."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from robustft.config import Config
from robustft.doctor.wire import ProbeError, Reply, Wire
from robustft.llm.client import Completion, Sampling, Usage
from robustft.llm.openai.dialect import Dialect
from robustft.llm.openai.payloads import passes
from robustft.llm.openai.replies import read_completion


class Said(NamedTuple):
    """A reply to a question, and the completion that a run would read from it."""

    reply: Reply
    completion: Completion


@dataclass(slots=True)
class Visit:
    """What checks ask with, and what earlier ones leave for later ones.

    `listed` are the models that the server lists, None where it lists none; `first` what it said to a run's kind of
    question, `burst` to several at once, in `burst_s` seconds. `coldest` is the lowest temperature that it takes.
    """

    config: Config
    wire: Wire
    dialect: Dialect
    listed: Sequence[Mapping[str, Any]] | None = None
    first: Said | None = None
    burst: Sequence[Said] = ()
    burst_s: float = 0.0
    coldest: float = 0.0
    gives_logprobs: bool | None = None
    gives_scores: bool | None = None
    chooses: bool | None = None
    tokens: dict[str, int] = field(default_factory=lambda: {"prompt_tokens": 0, "completion_tokens": 0})

    @property
    def model(self) -> str:
        """The model's name."""
        return self.config.llm.model

    @property
    def names(self) -> list[str]:
        """The names of the models that are listed."""
        return [str(entry["id"]) for entry in self.listed or ()]

    @property
    def room(self) -> int:
        """Tokens that an answer of a word may need: a model that reasons needs all that a run gives it."""
        return self.config.paper.max_tokens if self.first and self.first.completion.reasoning else 24

    async def ask(self, text: str, sampling: Sampling, **more: Any) -> Said:
        """Ask as a run would; where a parameter is refused, ask again as the refusal teaches. Raises ProbeError."""
        messages, dialect = [{"role": "user", "content": text}], self.dialect
        while True:
            drawn = replace(sampling, temperature=max(sampling.temperature, self.coldest))
            body = {"model": self.model, "messages": messages, **dialect.ask(drawn), **self.config.llm.extra_body}
            reply = await self.wire.post("/chat/completions", body | more)
            if reply.ok:
                self.dialect = dialect
                return self._read(reply)
            refused = not passes(reply.status)
            if refused and drawn.temperature == 0.0 and "temperature" in reply.said.lower():
                self.coldest = 1.0
            elif refused and (learned := dialect.learn(reply.said)) is not None:
                dialect = learned
            else:
                raise self.refusal(reply)

    async def ask_at_once(self, text: str, *samplings: Sampling) -> list[Said]:
        """Ask the same several times at once. Raises the first ProbeError, when all have ended."""
        said = await asyncio.gather(*(self.ask(text, each) for each in samplings), return_exceptions=True)
        for outcome in said:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in said if isinstance(outcome, Said)]

    def count(self, usage: Usage) -> None:
        """Add to what the visit took."""
        for name, tokens in asdict(usage).items():
            self.tokens[name] += tokens

    def refusal(self, reply: Reply) -> ProbeError:
        """Return what a reply that is no answer means, and the way out."""
        status, wire = reply.status, self.wire
        seen = f"{status}: {reply.said}"
        if status in (401, 403):
            way_out = f"check the key in {wire.key_env}" if wire.has_key else f"set {wire.key_env}, which is not set"
            return ProbeError(seen, way_out, gone=True)
        if status == 402 or "insufficient_quota" in reply.said:
            return ProbeError(seen, "top up the account", gone=True)
        if 300 <= status < 400:
            target = wire.show(reply.headers.get("Location", "elsewhere"), 120)
            return ProbeError(f"{status}: redirects to {target}", "put the final address into llm.base_url", gone=True)
        if status in (400, 404, 422) and self.listed is not None and self.model not in self.names:
            return ProbeError(seen, f"set llm.model to {self.nearest()}")
        if status in (404, 405):
            return ProbeError(seen, "does llm.base_url end in /v1?")
        if reply.json is None:
            return ProbeError(
                f"no JSON but: {reply.said or 'nothing'}", "does llm.base_url name the API, with its /v1?"
            )
        if status == 429:
            return ProbeError(seen, "wait, or lower llm.concurrency")
        if status >= 500:
            return ProbeError(seen, "look at the server's log")
        return ProbeError(seen, "leave out of llm.extra_body, or of llm, what the server refuses")

    def nearest(self) -> str:
        """Return the listed names that are most like the model's, or the first of them."""
        near = difflib.get_close_matches(self.model, self.names, 3, 0.4) or self.names[:3]
        return " or ".join(self.wire.show(name) for name in near) or "a model that the server has: it lists none"

    def _read(self, reply: Reply) -> Said:
        try:
            completion = read_completion(reply.json)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            seen = f"no chat completion but: {self.wire.show(reply.payload.decode('utf-8', 'replace'), 80)}"
            raise ProbeError(seen, "look at the server's log, or name another one") from None
        self.count(completion.usage)
        return Said(reply, completion)
