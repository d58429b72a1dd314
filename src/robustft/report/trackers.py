"""What a run came to, told to the experiment tracker that the user has: trackio, wandb or mlflow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from robustft.config import Config
from robustft.errors import ConfigError

PROJECT = "robustft"
"""The project (mlflow: experiment) of all runs; each tracker's own environment variables name another."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a tracker is told: the config, figures by name, the training loss by step, and the report's file."""

    name: str
    config: Mapping[str, Any]
    figures: Mapping[str, float]
    loss: Sequence[Mapping[str, float]]
    report: Path

    @classmethod
    def of(
        cls,
        name: str,
        config: Config,
        metrics: Mapping[str, Any],
        loss: Sequence[Mapping[str, float]],
        report: Path,
    ) -> Told:
        """Gather it from metrics.json and training.json's curve."""
        return cls(name, config.model_dump(mode="json"), dict(figures(metrics)), loss, report)


def refuse_missing(config: Config) -> None:
    """Raise ConfigError where the config names a tracker that isn't installed."""
    if config.report_to != "none" and find_spec(config.report_to) is None:
        raise ConfigError(f"report_to: {config.report_to} is not installed; pip install {config.report_to}")


def tell(tracker: str, told: Told) -> None:
    """Tell the tracker. Raises whatever its library does."""
    with redirect_stdout(sys.stderr):  # stdout holds results
        TRACKERS[tracker](told)


def figures(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number below, with its path, such as decisions/keep."""
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from figures(value, f"{prefix}{key}/")
        elif isinstance(value, bool | int | float):
            yield prefix + str(key), float(value)


_UNWATCHED: dict[str, Any] = {"auto_log_cpu": False, "auto_log_gpu": False}
"""The work is done when trackio hears of it: there is no machine to watch."""


def _trackio(told: Told) -> None:
    import trackio

    trackio.init(project=PROJECT, name=told.name, config=dict(told.config), embed=False, **_UNWATCHED)
    for point in told.loss:
        trackio.log({"train/loss": point["loss"]}, step=int(point["step"]))
    trackio.log(dict(told.figures), step=_last_step(told))
    trackio.finish()


def _wandb(told: Told) -> None:
    import wandb

    project = None if _named("WANDB_PROJECT") else PROJECT
    # it sends from a process of its own, which no audit hook hears; a variable would make transformers print
    mode: Literal["offline"] | None = "offline" if told.config.get("offline") else None
    with wandb.init(project=project, name=told.name, config=dict(told.config), mode=mode) as run:
        for point in told.loss:
            run.log({"train/loss": point["loss"]}, step=int(point["step"]))
        run.summary.update(dict(told.figures))
        page = wandb.Artifact(f"report-{run.id}", type="report")
        page.add_file(str(told.report))
        run.log_artifact(page)


def _mlflow(told: Told) -> None:
    import mlflow

    if not _named("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=told.name):
        mlflow.log_dict(dict(told.config), "config.yaml")
        for point in told.loss:
            mlflow.log_metric("train/loss", point["loss"], step=int(point["step"]))
        mlflow.log_metrics(dict(told.figures))
        mlflow.log_artifact(str(told.report))


def _named(*variables: str) -> bool:
    return any(variable in os.environ for variable in variables)


def _last_step(told: Told) -> int:
    return int(told.loss[-1]["step"]) + 1 if told.loss else 0


TRACKERS = {"trackio": _trackio, "wandb": _wandb, "mlflow": _mlflow}
