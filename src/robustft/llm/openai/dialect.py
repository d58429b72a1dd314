"""How a server wants to be asked: what its refusals teach about parameters that not every server takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from robustft.config import LLMConfig
from robustft.llm.client import Sampling
from robustft.llm.openai.capabilities import Capabilities

_OTHER_NAME = re.compile(r"unsupported|not supported|unrecogni[sz]ed|unknown|instead|deprecated|not permitted")
_LOGPROBS = re.compile(r"(?<!prompt_)(?:top_)?logprobs")
_LIMIT = re.compile(r"less|greater|more than|at most|max|between|exceed|range|up to|<=|≤")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The parameters that a server takes: how the length limit is named, and how many alternatives it lists a token.

    `fixed`: the name of the length limit is the user's choice and stays. `recalled`: it was found earlier, and the
    server may have changed since. `seeded`: seeds are sent. `chooses`: a reply can be held to a list of choices.
    """

    length: str = "max_tokens"
    fixed: bool = False
    logprobs: bool = True
    alternatives: int = 20
    seeded: bool = False
    recalled: bool = False
    chooses: bool = True

    @classmethod
    def of(cls, config: LLMConfig, known: Capabilities | None = None) -> Dialect:
        """Return what to begin with: what the user chose, else what is known of the server."""
        # a file of requests is too dear for finding out whether the server takes them
        begin = cls(seeded=config.send_seed, chooses=config.lane == "live")
        if known is not None:
            begin = replace(begin, logprobs=known.takes_logprobs, alternatives=known.takes_alternatives)
        if known is not None and known.chooses is not None:
            begin = replace(begin, chooses=known.chooses)
        if config.token_parameter != "auto":
            return replace(begin, length=config.token_parameter, fixed=True)
        if known is not None and known.length != begin.length:
            return replace(begin, length=known.length, recalled=True)
        return begin

    def ask(self, sampling: Sampling) -> dict[str, Any]:
        """Return the keys of a request that stand for `sampling`; the sample's number moves the seed."""
        body: dict[str, Any] = {self.length: sampling.max_tokens, "temperature": sampling.temperature}
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.seeded and sampling.seed is not None:
            body["seed"] = sampling.seed + sampling.sample
        if sampling.top_logprobs and self.logprobs:
            body["logprobs"] = True
            if alternatives := min(sampling.top_logprobs, self.alternatives):
                body["top_logprobs"] = alternatives
        return body

    def learn(self, said: str) -> Dialect | None:
        """Return the dialect to try after a refusal that says `said`, None where it isn't about these parameters.

        Each lesson asks for less than the dialect before it, or drops what was recalled, so a chain of refusals ends.
        """
        said = said.lower()
        rename = not self.fixed and self.length == "max_tokens"
        if rename and "max_completion_tokens" in said and _OTHER_NAME.search(said):
            return replace(self, length="max_completion_tokens")
        if self.recalled and self.length in said and _OTHER_NAME.search(said):
            return replace(self, length="max_tokens", fixed=True, recalled=False)
        if not self.logprobs or not _LOGPROBS.search(said):
            return None
        smaller = [int(n) for n in re.findall(r"(?<![\w.-])\d{1,3}(?![\w-])", said) if int(n) < self.alternatives]
        if smaller and _LIMIT.search(said):
            return replace(self, alternatives=max(smaller))
        if self.alternatives and "top_logprobs" in said:
            return replace(self, alternatives=0)
        return replace(self, logprobs=False)
