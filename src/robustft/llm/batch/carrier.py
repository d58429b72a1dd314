"""What takes a batch to a model and brings its replies back, and how patiently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from robustft.llm.batch.record import Record

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """Waits, in seconds.

    A batch is closed when for `quiet` nobody has asked anything more. It is looked at after `first`, then less and less
    often, at last every `longest`.
    """

    quiet: float = 1.0
    first: float = 2.0
    longest: float = 60.0

    def after(self, pause: float) -> float:
        """Return the pause that follows one of `pause` seconds."""
        return min(1.5 * pause, self.longest)


class QueueFullError(Exception):
    """The server takes no batch of this size now, but will when others have ended."""


class Carrier(Protocol):
    """One way to have a batch answered."""

    @property
    def name(self) -> str:
        """The lane's name in the config."""
        ...

    @property
    def base_url(self) -> str:
        """What the model's identity names as its address."""
        ...

    @property
    def at_once(self) -> int:
        """How many batches may be under way at once."""
        ...

    async def carry(self, record: Record, say: Say) -> None:
        """Bring the replies into the record's folder and mark it as ended; go on where an earlier process was killed.

        What the replies leave out is asked again. Raises ModelError, which ends the run, and QueueFullError.
        """
        ...

    async def aclose(self) -> None:
        """Release what was opened; batches on a server go on."""
        ...
