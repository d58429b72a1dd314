"""What the cells are run on: each task's rows at each noise level, as files with an id and the truth."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mode

import numpy as np

from robustft.config import Config
from robustft.data.noise import Kind, noise_file
from robustft.data.readers import read
from robustft.data.writing import write_rows
from robustft.errors import ConfigError
from robustft.loading import load_config
from robustft.records import Example
from robustft.tasks import make_task
from robustft.tasks.presets import PRESETS

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = {"fpb": "fpb.yaml", "arc": "arc.yaml", "shop": "quickstart.yaml"}
"""Each task's example, whose sections `task` and `data` say how its files are read."""
_KINDS: dict[str, Kind] = {"": "symmetric", "asymmetric": "asymmetric"}
"""What stands before the percentage in a noise level's name, and the kind of noise that it means."""


@dataclass(frozen=True, slots=True)
class Source:
    """A task and its files under DATA/NAME: labeled.csv holds the truth, noisy/noisyNN.csv noise as it was shipped.

    `options`: how many a row has, as a rule. `shared`: whether all rows have the same ones.
    """

    name: str
    config: Config
    folder: Path
    options: int
    shared: bool

    @classmethod
    def open(cls, name: str, data: Path) -> Source:
        """Look at the task's labeled rows. Raises DataError, ConfigError."""
        config = load_config(EXAMPLES / TASKS[name], presets=PRESETS)
        if not (labeled := data / name / "labeled.csv").exists():
            raise ConfigError(f"--data: there is no {labeled}")
        sets = [example.options for example in _rows(config, labeled)]
        return cls(name, config, data / name, mode(map(len, sets)), len(set(sets)) == 1)

    @property
    def labeled(self) -> Path:
        """The file of right responses."""
        return self.folder / "labeled.csv"

    def shipped(self, noise: str) -> Path | None:
        """Return the file of a noise level that came with the data; None where noise is to be planted."""
        path = self.folder / "noisy" / f"noisy{noise}.csv"
        return path if path.exists() else None


def write_input(source: Source, noise: str, rows: int | None, out: Path) -> Path:
    """Write the task's rows at a noise level, with the columns id and truth. Returns the file.

    `noise` is a percentage, symmetric or after 'asymmetric-'. A file that was shipped is taken as it is; else noise
    is planted, with the percentage as its seed. `rows` are drawn at random, the same at every level; None: all. Rows
    whose shipped label names none of their options are left out (one of ARC's at 50 %, a D of three).
    """
    if shipped := source.shipped(noise):
        examples = _rows(source.config, shipped, truth_path=str(source.labeled))
    else:
        kind, _, percent = noise.rpartition("-")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "noisy.csv"
            noise_file(source.labeled, made, source.config, int(percent) / 100, _KINDS[kind], seed=int(percent))
            examples = _rows(source.config, made, truth="truth")
    if rows is not None:
        ids = [example.id for example in _rows(source.config, source.labeled)]
        drawn = set(np.random.default_rng(0).permutation(ids)[:rows].tolist())
        examples = [example for example in examples if example.id in drawn]
    path = out / f"{source.name}-{noise}-{rows or 'all'}.jsonl"
    return write_rows(path, [{**e.source, "id": e.id, "truth": e.truth} for e in examples])


def write_reviewed(source: Source, path: Path, count: int, seed: int) -> Path:
    """Write the truth of `count` rows of an input, drawn without regard to their labels, as a person would have it."""
    examples = _rows(source.config, path, id="id", truth="truth")
    drawn = np.random.default_rng(seed).choice(len(examples), min(count, len(examples)), replace=False)
    rows = [{"id": examples[i].id, source.config.data.response: examples[i].truth} for i in drawn]
    return write_rows(path.with_name(f"{path.stem}-reviewed-{count}-{seed}.csv"), rows)


def _rows(config: Config, path: Path, **columns: str) -> list[Example]:
    keys = {"path": str(path), "truth": None, "truth_path": None, "on_bad_row": "skip"} | columns
    data = config.data.model_copy(update=keys)
    return read(data, make_task(config.task)).examples
