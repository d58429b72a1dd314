"""Training files in the formats that LLaMA-Factory, TRL and axolotl load as they are, re-read before they count."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from robustft.config import DataConfig, ExportConfig
from robustft.data.files import file_rows
from robustft.data.formats import Keys, Shape, llamafactory_entry
from robustft.data.layouts import Turns, to_turns
from robustft.data.recipes import HEAD, Recipe, recipes
from robustft.data.survey import Survey, survey
from robustft.data.train_rows import Rows, file_row, is_pair
from robustft.data.writing import write_rows
from robustft.errors import DataError
from robustft.run import write_atomically


def write_exports(folder: Path, rows: Rows, config: ExportConfig, name: str, recipe: Recipe) -> list[Path]:
    """Write the rows in every format that the config names, and tell the trainers of the files.

    Writes `NAME_FORMAT.jsonl` (or .json), with `preferences` also `NAME_FORMAT_preferences.jsonl`; an entry for each
    in `dataset_info.json` (LLaMA-Factory), beside the entries that are there; and the recipe as each trainer takes it
    (`data.recipes`). A row has the format's keys, its id, and the columns of its source in their order. In its own
    format it keeps its own fields, and only the response is another; a source column is renamed `source_NAME` where a
    trainer would take it for something else. prompt-completion is plain text where the source was, else lists of
    messages.

    Returns the files written. Raises DataError for turns that no format holds, a file that doesn't read back as what
    was meant, and files of the same names that aren't ours.
    """
    export = Export.of(folder, survey(rows, config), config, name, recipe)
    for file in export.files:
        file.write(rows)
    return export.tell()


@dataclass(frozen=True, slots=True)
class Export:
    """The files that rows become, and the texts that tell trainers of them."""

    files: Sequence[TrainFile]
    texts: Mapping[Path, str]

    @classmethod
    def of(cls, folder: Path, survey: Survey, config: ExportConfig, name: str, recipe: Recipe) -> Export:
        """Return what is to be written; see `write_exports`. Raises DataError for files that aren't ours."""
        kinds = [(False, survey.rows), (True, survey.pairs)][: 1 + config.preferences]
        files = [
            TrainFile(
                folder / f"{name}_{form}{'_preferences' if pairs else ''}.{config.file_type}",
                traits.shape(form, pairs=pairs),
                traits.rows,
                survey.mixed,
            )
            for pairs, traits in kinds
            for form in config.formats
        ]
        info = folder / "dataset_info.json"
        told = recipes(folder, [(file.shape, file.path) for file in files if file.count], recipe)
        _check_ours(told)
        return cls(files, {info: _dataset_info(info, files), **told})

    def tell(self) -> list[Path]:
        """Write the texts, once the files are there. Returns all that was written."""
        for path, text in self.texts.items():
            _write_text(path, text)
        return [*(file.path for file in self.files), *self.texts]


def _check_ours(paths: Collection[Path]) -> None:
    for path in paths:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(HEAD):
            raise DataError("was not written by robustft; move it away", path=path)


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class TrainFile:
    """One file of the export: of `count` rows, the `mixed` columns of whose sources become JSON text."""

    path: Path
    shape: Shape
    count: int
    mixed: frozenset[str]

    def write(self, rows: Rows, path: Path | None = None) -> None:
        """Write the rows, or those that are pairs, and read the file to see that it says what was meant.

        `path`: another place, for some of the rows. Raises DataError.
        """
        place, meant = path or self.path, array("q")

        def contents() -> Iterator[Keys]:
            for row in filter(is_pair, rows) if self.shape.pairs else rows:
                content = file_row(row, self.shape, self.mixed)
                meant.append(self._sum(content, Turns(row.messages, row.response)))
                yield content

        write_rows(place, contents())
        for number, (wanted, found) in enumerate(zip_longest(meant, file_rows(place)), 1):
            if found is None or found.problem or wanted != self._sum(found.values, self._turns(found.values)):
                place.unlink()
                raise DataError("doesn't read back as what was meant; please report this", path=place, row=number)

    def _turns(self, content: Mapping[str, Any]) -> Turns | None:
        return None if self.shape.pairs else to_turns(content, self.shape.format, DataConfig())

    def _sum(self, content: Mapping[str, Any], turns: Turns | None) -> int:
        """Return a checksum of a row: its columns in their order and, unless it is a pair, its turns."""
        if self.shape.pairs or turns is None:
            return hash(repr([*content.items()]))
        spoken = [(turn["role"], turn["content"]) for turn in turns.messages]
        return hash(repr((*content.items(), spoken, turns.response)))


def _dataset_info(path: Path, files: Sequence[TrainFile]) -> str:
    """Return dataset_info.json with our entries in it. A file without rows has none: no loader takes it."""
    try:
        info = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError):
        info = None
    if not isinstance(info, dict):
        raise DataError("not a JSON object; mend it or move it away", path=path)
    for file in files:
        key, name = file.path.stem, file.path.name
        there = info.pop(key, None)
        if there is not None and not (isinstance(there, dict) and there.get("file_name") == name):
            raise DataError(f"the entry '{key}' is of another file; export under another name", path=path)
        entry = llamafactory_entry(file.shape, name) if file.count else None
        if entry is not None:
            info[key] = entry
    return json.dumps(info, indent=2) + "\n"  # in ASCII: LLaMA-Factory opens it in the platform's encoding
