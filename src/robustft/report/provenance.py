"""What a run's results were made of, and what they are: versions, digests of inputs and of outputs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from robustft.config import Config
from robustft.data.files import files_of
from robustft.data.hub import PREFIX
from robustft.report.versions import versions
from robustft.run import RunDir, digest, fingerprint

OUTPUTS = ("examples", "answers", "beliefs", "verdicts", "relabels", "decisions")
"""Tables whose bytes are the same for the same config, data, seed and ledger."""


def provenance(run: RunDir, config: Config) -> dict[str, Any]:
    """Return what provenance.json holds; the sha256 of every file that was read, and of every one that was made.

    A digest of the config tells runs apart whose `config.yaml` differs in anything but where they were made.
    """
    own = {"ledger", "budget", "engine", "ray", "report_to"}
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "config": fingerprint(config.model_dump(mode="json", exclude=own)),
        "inputs": {name: digest for path in _named(config) for name, digest in _read(path)},
        "outputs": dict(_made(run)),
    }


def _named(config: Config) -> Sequence[str]:
    """Return the files that the config names as data."""
    evaluate = config.evaluate
    named = (config.data.path, config.data.truth_path, config.posterior.reviewed, evaluate and evaluate.path)
    return [str(path) for path in named if path is not None]


def _read(path: str) -> Iterator[tuple[str, str | None]]:
    if path.startswith(PREFIX):
        yield path, None
        return
    for file in files_of(Path(path)):
        yield str(file), digest(file)


def _made(run: RunDir) -> Iterator[tuple[str, str]]:
    tables = [run.path / f"{name}.parquet" for name in OUTPUTS]
    exported, adapter = sorted((run.path / "export").glob("*")), sorted((run.path / "adapter").glob("*.safetensors"))
    for file in [*tables, *exported, *adapter]:
        if file.is_file():
            yield file.relative_to(run.path).as_posix(), digest(file)
