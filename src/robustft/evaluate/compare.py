"""The matched experiment: one base model, one budget, the same seeds, and rows that were cleaned in different ways."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustft import __version__
from robustft.config import Arm, CompareConfig, Config, LLMConfig, TrainConfig
from robustft.data.readers import read
from robustft.data.train_rows import TrainRow
from robustft.engine.local import Progress
from robustft.errors import ConfigError, ModelError
from robustft.evaluate.arms import arm_configs, as_given, as_true, drawn
from robustft.evaluate.evaluate import BASE, Sheet, Training, ask_model, base_model, prepare, with_adapter
from robustft.evaluate.held_out import settings_of
from robustft.evaluate.outcome import ArmRun, outcome, right_share
from robustft.evaluate.scoring import Result
from robustft.evaluate.table import markdown, page
from robustft.records import Decision, Example
from robustft.run import RunDir, fingerprint
from robustft.tasks import make_task
from robustft.tasks.task import Task
from robustft.train.form import Form, TrainRows
from robustft.train.lora import is_trained, train, training_key
from robustft.train.settings import confidences, settled

Denoise = Callable[[Config, Path, int | None, Progress, Collection[str]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What all arms share: `denoise` cleans as the pipeline does; `run` is the one that the comparison is part of.

    `cleaning`: the config of each arm that cleans.
    """

    config: Config
    cleaning: Mapping[Arm, Config]
    settings: CompareConfig
    task: Task
    examples: Sequence[Example]
    form: Form
    base: LLMConfig
    out: Path
    denoise: Denoise
    limit: int | None
    progress: Progress
    run: RunDir | None


async def compare_arms(
    config: Config, out: Path, denoise: Denoise, limit: int | None, progress: Progress, run: RunDir | None = None
) -> dict[str, Any]:
    """Train on the rows as each arm leaves them, once a seed, and ask all models about the held-out rows.

    Writes compare.json, compare.md and compare.html into `out`, and a folder for each arm with one for each seed in
    it: training.json, the adapter, and result.json with every answer. Where a `run` is given, its cleaned rows and its
    adapter are taken over where they are what an arm wants; arms that leave the same rows are trained once. The same
    call again resumes; what is finished isn't done again. Returns what compare.json holds. Raises RobustFTError.
    """
    study = _study(config, out, denoise, limit, progress, run)
    training = Training.of(study.examples, as_given(study.examples), study.form)
    sheet = await prepare(config, study.task, training)
    said = await _asked(study, out / BASE, BASE, study.base, sheet, None)
    arms, skipped = dict[str, list[ArmRun]](), dict[str, str]()
    for arm in study.settings.arms:
        if arm == "oracle" and all(example.truth is None for example in study.examples):
            skipped[arm] = "data maps no truth"
            progress.note("arm oracle is left out: data maps no truth")
            continue
        lefts = [await _left(study, arm, seed) for seed in study.settings.seeds]
        if not len(TrainRows(study.examples, lefts[0].decisions, study.form)):
            skipped[arm] = "leaves no row to train on"
            progress.note(f"arm {arm} is left out: it {skipped[arm]}")
            continue
        arms[arm] = [
            await _run(study, arm, seed, left, sheet) for seed, left in zip(study.settings.seeds, lefts, strict=True)
        ]
    found = (
        outcome(said, arms, study.task, config)
        | sheet.facts()
        | {
            "skipped": skipped,
            "key": study_key(study.examples, config),
            "train": settled(config).model_dump(mode="json"),
            "seeds": list(study.settings.seeds),
            "steps": study.settings.steps,
            "version": __version__,
        }
    )
    folder = RunDir(out)
    folder.write_json("compare.json", found)
    folder.write("compare.md", (markdown(found) + "\n").encode())
    folder.write("compare.html", page(found).encode())
    return found


def study_key(examples: Sequence[Example], config: Config) -> str:
    """Return a digest of what is compared: the rows as given, and how the models are asked about which others."""
    given = [(example.id, example.response) for example in examples]
    asked = config.model_dump(mode="json", include={"task", "prompts", "evaluate", "compare"})
    return fingerprint(given, config.llm.model, asked)


def _study(
    config: Config, out: Path, denoise: Denoise, limit: int | None, progress: Progress, run: RunDir | None
) -> Study:
    settings, task, trained = config.compare or CompareConfig(), make_task(config.task), settled(config)
    base = base_model(config, trained.model)
    if base.backend != "local" or base.model != trained.model:
        raise ConfigError(
            f"compare: evaluates what it trains, {trained.model}, in this process; leave evaluate.llm out"
        )
    cleaning = arm_configs(config, task)
    rows = read(config.data, task, limit)
    form = Form.of(rows.examples, rows.layout, task, config)
    return Study(config, cleaning, settings, task, rows.examples, form, base, out, denoise, limit, progress, run)


async def _run(study: Study, arm: Arm, seed: int, left: Left, sheet: Sheet) -> ArmRun:
    """Train on what an arm leaves with a seed, and evaluate it."""
    rows = list(TrainRows(study.examples, left.decisions, study.form))
    settings = _budget(settled(study.config).model_copy(update={"seed": seed}), rows, study.settings.steps)
    if left.confidences is None:
        settings = settings.model_copy(update={"weight": "none"})
    folder = study.out / arm / f"seed-{seed}"
    _take_over(study, folder, training_key(rows, settings, left.confidences))
    facts = train(rows, settings, folder, study.progress, left.confidences)
    evaluate = settings_of(study.config)
    if evaluate.neighbours and evaluate.context == "cleaned":
        sheet = await prepare(study.config, study.task, Training.of(study.examples, left.decisions, study.form))
    model = with_adapter(study.base, str(folder / "adapter"))
    results = await _asked(study, folder, arm, model, sheet, facts["key"])
    share = right_share(study.examples, left.decisions, study.task)
    weighted = settings.weight != "none"
    return ArmRun(seed, len(rows), share, weighted, facts["steps"], facts["seconds"], results)


@dataclass(frozen=True, slots=True)
class Left:
    """What an arm leaves to train on, and how likely each row is right, where the arm can say so."""

    decisions: Sequence[Decision]
    confidences: Mapping[str, float] | None = None


async def _left(study: Study, arm: Arm, seed: int) -> Left:
    if arm == "none":
        return Left(as_given(study.examples))
    if arm == "oracle":
        return Left(as_true(study.examples, study.task))
    if arm == "random":
        return Left(drawn(study.examples, (await _cleaned(study, "posterior")).decisions, seed))
    return await _cleaned(study, arm)


async def _cleaned(study: Study, arm: Arm) -> Left:
    """Clean the rows by a method, or take them from the run that has just done so. Raises ModelError."""
    overrides = study.settings.overrides.get(arm, {})
    if study.run is not None and arm == study.config.method and not overrides:
        return Left(study.run.load(Decision), confidences(study.run, study.config))
    config, folder = study.cleaning[arm], study.out / arm / "cleaned"
    metrics = await study.denoise(config, folder, study.limit, study.progress, ("train",))
    if missing := sum(metrics["unanswered"].values()):
        raise ModelError(f"arm {arm}: {missing} answers are missing; run the same command again to ask for them")
    run = RunDir(folder)
    return Left(run.load(Decision), confidences(run, config))


def _budget(settings: TrainConfig, rows: Sequence[TrainRow], steps: int | None) -> TrainConfig:
    """Return the settings for so many steps, whatever the rows; unchanged where no number is given."""
    if steps is None or not rows:
        return settings
    epochs = steps * settings.batch_size * settings.accumulation / len(rows)
    return settings.model_copy(update={"epochs": epochs, "max_steps": steps})


def _take_over(study: Study, folder: Path, key: str) -> None:
    """Copy an adapter that the run or another arm has trained in this very way; arms may leave the same rows."""
    if is_trained(folder, key):
        return
    places = sorted(study.out.glob(f"*/{folder.name}"))
    if study.run is not None:
        places = [study.run.path, *places]
    for place in places:
        if is_trained(place, key):
            shutil.copytree(place / "adapter", folder / "adapter", dirs_exist_ok=True)
            shutil.copy(place / "training.json", folder)
            return


async def _asked(
    study: Study, folder: Path, name: str, model: LLMConfig, sheet: Sheet, trained: str | None
) -> list[Result]:
    """Ask a model, or return what it said before of these very questions."""
    place = RunDir(folder)
    known = place.read_json("result.json")
    told = model.model_dump(mode="json", exclude={"adapter", "concurrency", "batch_tokens"})
    asked = [(question.messages, question.candidates, question.truth) for question in sheet.questions]
    key = fingerprint(__version__, trained, told, asked, _how(study))
    if known.get("key") == key:
        return [Result(**result) for result in known["results"]]
    results = await ask_model(name, model, sheet, study.config, study.task, study.progress)
    place.write_json("result.json", {"key": key, "results": results})
    return results


def _how(study: Study) -> Mapping[str, Any]:
    settings = settings_of(study.config)
    return settings.model_dump(mode="json", include={"answers", "temperature", "max_tokens"}) | {
        "seed": study.config.seed
    }
