"""The errors a user can meet. Each message is one line that names the culprit and the way out."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from pathlib import Path


class RobustFTError(Exception):
    """Base of every error this package raises on purpose; the command line prints it without a traceback."""

    def __str__(self) -> str:
        """Return the message in one line: what it quotes from data may hold line breaks."""
        return "\\n".join(super().__str__().splitlines())


class ConfigError(RobustFTError):
    """The config, a flag or a prompt is wrong; the message names the key."""


class DataError(RobustFTError):
    """A file or one of its rows can't be read.

    `row` counts data rows from 1 (the header of a CSV is not a row); `field` is the column.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        row: int | None = None,
        field: str | None = None,
    ) -> None:
        self.message, self.path, self.row, self.field = message, path, row, field
        place = ", ".join(
            part
            for part in (
                str(path) if path is not None else "",
                f"row {row}" if row is not None else "",
                f"column '{field}'" if field is not None else "",
            )
            if part
        )
        super().__init__(f"{place}: {message}" if place else message)


class StorageError(RobustFTError):
    """Something can't be written: the disk is full or read-only, or may not be written to."""

    @classmethod
    def of(cls, error: OSError, place: Path | str) -> StorageError | None:
        """Return what an error of the system means for the user; None where it is not about room or permission."""
        if error.errno not in _NOT_WRITABLE:
            return None
        reason = os.strerror(error.errno)
        return cls(f"{error.filename or place}: {reason}; make room or choose another folder, then run the same again")


_NOT_WRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})


class ModelError(RobustFTError):
    """A call to a model failed for good, after its retries.

    `fatal` says that no other call can succeed either (wrong key, unknown model), so the run stops at once.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class UnaskedError(ModelError):
    """A call that was not made, since the run's budget is spent; the message names the key."""


def meant(word: object, known: Iterable[str]) -> str:
    """Return '; did you mean ..?' for a word that is nearly one of those known, else ''."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def listing(names: Iterable[str], most: int = 20) -> str:
    """Return names as a message shows them: the first ones, and how many more there are."""
    known = list(names)
    more = len(known) - most
    return ", ".join(known[:most]) + (f" and {more:,} more" if more > 0 else "")
