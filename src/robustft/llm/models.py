"""The run's models: opened when first asked for, with the ledger around the LLM, closed with the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

from platformdirs import user_cache_path

from robustft.config import Config, LLMConfig
from robustft.engine.local import Silent
from robustft.errors import ConfigError
from robustft.llm.budget import Budget
from robustft.llm.calls import Calls
from robustft.llm.client import LLM
from robustft.llm.embedder import Embedder, Joined, open_embedder
from robustft.llm.ledger import Ledger, LedgeredLLM
from robustft.llm.scripted import ScriptedLLM, simulated_rows
from robustft.llm.split import SplitScores
from robustft.llm.vectors import KeptVectors
from robustft.records import Example
from robustft.tasks.task import Task

if TYPE_CHECKING:
    from robustft.llm.local.model import LocalLLM
    from robustft.llm.openai.lane import Lane


class Models:
    """Opens the config's LLM and embedder on first use. `calls` counts what the LLM was asked, on top of what it holds.

    `examples` gives the rows that the scripted model simulates; no other model sees them. `say` takes lines that the
    user should see, such as where a batch is. `address`: where `ray.serve` has the LLM served. `budget`: what may be
    spent on the LLM.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        examples: Callable[[], Sequence[Example]],
        calls: Calls | None = None,
        say: Callable[[str], None] | None = None,
        address: str | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._address = address
        self.calls = Calls() if calls is None else calls
        self.budget = budget or Budget()
        self._say = say or Silent().note
        self._config, self._task, self._examples = config, task, examples
        self._opened: LLM | None = None
        self._llm: LLM | None = None
        self._ledger: Ledger | None = None
        self._embedder: Embedder | None = None

    async def llm(self) -> LLM:
        """Return the LLM, every call of which goes through the ledger. Raises RobustFTError."""
        if self._llm is None:
            self._ledger = self._ledger or Ledger(ledger_path(self._config))
            self._llm = await self.llm_through(self._ledger, self.calls, self.budget)
        return self._llm

    async def llm_through(self, ledger: Ledger, calls: Calls, budget: Budget) -> LLM:
        """Return the LLM, whose calls go through this ledger, are counted there and keep to this budget.

        Raises RobustFTError.
        """
        if self._opened is None:
            self._opened = await asyncio.to_thread(self._open, ledger)
        ledgered = LedgeredLLM(self._opened, ledger, self._opened.identity, calls, budget)
        return SplitScores(ledgered) if self._config.llm.backend == "openai" else ledgered

    async def embedder(self) -> Embedder:
        """Return the embedder. Raises RobustFTError."""
        if self._embedder is None:
            self._embedder = await self._open_embedder()
        return self._embedder

    async def release(self) -> None:
        """Close what is open; what is asked for later is opened again."""
        if self._opened is not None:
            await self._opened.aclose()
        if self._embedder is not None:
            await self._embedder.aclose()
        if self._ledger is not None:
            self._ledger.close()
        self._llm = self._opened = self._ledger = self._embedder = None

    async def _open_embedder(self) -> Embedder:
        parts = [await self._open_one(name) for name in self._config.embedder]
        return parts[0] if len(parts) == 1 else Joined(parts)

    async def _open_one(self, name: str) -> Embedder:
        folder = user_cache_path("robustft") / "vectors"
        if name == "hidden":
            from robustft.llm.local.hidden import HiddenStates

            if self._config.llm.backend != "local":
                raise ConfigError("embedder: hidden reads the states of a local model; set llm.backend: local")
            await self.llm()
            weights = cast("LocalLLM", self._opened).weights
            return KeptVectors(HiddenStates(weights), folder, f"hidden {weights.fingerprint} {weights.dtype}")
        opened = await asyncio.to_thread(open_embedder, name, self._config.llm)
        if name == "tfidf":
            return opened
        return KeptVectors(opened, folder, f"{name} {self._config.llm.base_url if ':' in name else ''}")

    def _open(self, ledger: Ledger) -> LLM:
        config = self._config.llm
        if config.backend == "openai":
            return _open_endpoint(config, ledger, self._say, self._address)
        if config.backend == "local":
            from robustft.llm.local.model import LocalLLM

            return LocalLLM.open(config)
        return ScriptedLLM(config.scripted, simulated_rows(self._examples(), self._task))

    async def __aenter__(self) -> Models:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()


def ledger_path(config: Config) -> Path:
    """Return the config's ledger file, or the one in the user's cache folder."""
    return config.ledger or user_cache_path("robustft") / "ledger.sqlite"


def _open_endpoint(config: LLMConfig, ledger: Ledger, say: Callable[[str], None], address: str | None) -> LLM:
    from robustft.llm.openai.capabilities import recall
    from robustft.llm.openai.endpoint import Endpoint
    from robustft.llm.openai.lane import LiveLane
    from robustft.llm.openai.model import OpenAILLM

    if address is not None:
        lane: Lane = LiveLane(Endpoint(config.model_copy(update={"base_url": address})), known_as="ray.serve")
    elif config.lane == "live":
        lane = LiveLane(Endpoint(config))
    else:
        from robustft.llm.batch.lane import BatchLane

        # beside the ledger: any run that shares it finds what another has sent
        home = ledger.path.with_name(ledger.path.name + ".batches")
        lane = BatchLane.open(config, home, ledger.__contains__, say)
    known = recall(lane.base_url, config.model)
    if known is not None and (lesson := known.lesson):
        say(f"{lane.base_url} is asked {lesson}, as `robustft doctor` found on {known.found}")
    return OpenAILLM(lane, config, known)
