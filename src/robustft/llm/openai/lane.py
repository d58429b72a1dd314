"""How chat requests travel to a model and their replies back: one by one over HTTP here, as files in `llm.batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from robustft.llm.openai.endpoint import Endpoint

Reply = TypeVar("Reply")

UNKEPT = "unkept-"
"""How a request's name begins where the ledger holds no answer under it; every other name is a ledger key."""


class Lane(Protocol):
    """Carries chat requests, of which many tasks of one event loop may wait at once."""

    @property
    def base_url(self) -> str:
        """Where the model is: part of its identity, and so of every ledger key."""
        ...

    async def chat(self, body: Mapping[str, Any], read: Callable[[Any], Reply], name: Callable[[], str]) -> Reply:
        """Send `body` and return what `read` makes of the JSON that comes back.

        `name` gives the request's name, the ledger's key of its answer, to a lane that has to know it again. Raises
        RefusedError where this request is refused, a fatal ModelError where every one would be, and ModelError after
        the last attempt.
        """
        ...

    async def aclose(self) -> None:
        """Release what was opened."""
        ...


class LiveLane:
    """Each request by itself, at once; `known_as`: what stands for the endpoint's address."""

    def __init__(self, endpoint: Endpoint, known_as: str | None = None) -> None:
        self._endpoint, self._known_as = endpoint, known_as

    @property
    def base_url(self) -> str:
        """The endpoint's address, or what stands for it."""
        return self._known_as or self._endpoint.base_url

    async def chat(self, body: Mapping[str, Any], read: Callable[[Any], Reply], name: Callable[[], str]) -> Reply:
        """Send and read; see `Endpoint.post`."""
        return await self._endpoint.post("/chat/completions", body, read)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()
