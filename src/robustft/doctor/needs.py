"""What a config needs of its endpoints, and its refusal where `robustft doctor` has found that they don't have it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from robustft.config import Config, LLMConfig
from robustft.errors import ConfigError
from robustft.llm.openai.address import base_url
from robustft.llm.openai.capabilities import Capabilities, recall
from robustft.records import OF_RELABEL

What = Literal["logprobs", "scoring"]
LOGPROBS: What = "logprobs"
SCORES: What = "scoring"


@dataclass(frozen=True, slots=True)
class Need:
    """That the config's `key` can't do without `what`, a check's name, from `llm`, and how it can be spared."""

    key: str
    what: What
    llm: LLMConfig
    way_out: str


def needs(config: Config, *, evaluates: bool = True) -> Iterator[Need]:
    """Yield what a run of the config needs, of its endpoint and, where it `evaluates`, of that of `evaluate`."""
    method, llm = config.method, config.llm
    asked = {"paper": config.experts, "posterior": config.experts, "self-label": config.experts[:1]}.get(method, ())
    if "likelihood" in asked:
        yield Need("experts: likelihood", SCORES, llm, "leave likelihood out of experts")
    relabels = method == "paper" or (method == "posterior" and OF_RELABEL.intersection(config.experts))
    if relabels and config.paper.answers == "scored":
        yield Need("paper.answers: scored", SCORES, llm, "set paper.answers: generated")
    if method == "paper" and config.paper.answers == "generated" and llm.top_logprobs:
        way_out = "choose method posterior, or set llm.top_logprobs: 0 to have all new responses set aside for review"
        yield Need("method: paper", LOGPROBS, llm, way_out)
    held_out = config.evaluate if evaluates else None
    if held_out is not None and held_out.answers == "scored":
        own = held_out.llm or (llm if config.train is None else None)
        if own is not None:
            yield Need("evaluate.answers: scored", SCORES, own, "set evaluate.answers: generated")


def needed(config: Config, what: What) -> Need | None:
    """Return the first need of `what` from the config's own endpoint."""
    return next((need for need in needs(config) if need.what == what and need.llm == config.llm), None)


def refuse_unmet(config: Config, *, evaluates: bool = True) -> None:
    """Raise ConfigError where a need is known to be unmet, before anything is asked."""
    for need in needs(config, evaluates=evaluates):
        known = _known(need.llm, served=config.ray.serve is not None)
        if known is not None and (known.gives_scores if need.what == SCORES else known.gives_logprobs) is False:
            raise ConfigError(
                f"{need.key}: {known.endpoint} doesn't give model {known.model} what this needs (`robustft doctor` of "
                f"{known.found}, check '{need.what}'): {need.way_out}, or run doctor again if the server has changed"
            )


def _known(llm: LLMConfig, *, served: bool) -> Capabilities | None:
    if llm.backend != "openai" or (served and not llm.base_url):  # nothing is known of a server yet to be started
        return None
    default = "vllm run-batch" if llm.lane == "vllm-batch" else None
    return recall(base_url(llm, default), llm.model)
