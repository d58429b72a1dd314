"""From a YAML file, presets and `--set` flags to a Config; every mistake is one line that names the key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from robustft.config import Config, section_in
from robustft.errors import ConfigError, meant

Tree = dict[str, Any]


def load_config(path: Path, overrides: Sequence[str] = (), presets: Mapping[str, Tree] | None = None) -> Config:
    """Read a config file, with its preset under it and `a.b=value` overrides over it.

    Paths in the file are relative to the file, those in an override to the working folder. Raises ConfigError.
    """
    tree = read_tree(path)
    for override in overrides:
        _apply(tree, override)
    return resolved(tree, path, presets)


def read_tree(path: Path) -> Tree:
    """Return the keys of a config file, their paths relative to the working folder. Raises ConfigError."""
    tree = _read_yaml(path)
    _anchor_paths(tree, path.parent)
    return tree


def resolved(tree: Tree, source: object, presets: Mapping[str, Tree] | None = None) -> Config:
    """Return the config of these keys, with their preset under them and prompts read from their files.

    Raises ConfigError, which names the `source`.
    """
    task = tree.get("task")
    preset = task if isinstance(task, str) else task.get("preset") if isinstance(task, dict) else None
    if preset is not None:
        tree = merge(
            _preset(preset, presets or {}), tree | {"task": task if isinstance(task, dict) else {"preset": task}}
        )
    _read_prompt_files(tree)
    return make_config(tree, source)


def overridden(config: Config, overrides: Sequence[str]) -> Config:
    """Return the config with `a.b=value` overrides over it. Raises ConfigError."""
    tree = config.model_dump(mode="json")
    for override in overrides:
        _apply(tree, override)
    return make_config(tree, "--set")


def make_config(tree: Mapping[str, Any], source: object = "config") -> Config:
    """Validate a tree of plain values. Raises ConfigError that names the first wrong key and the way out."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from None


def _read_yaml(path: Path) -> Tree:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `robustft init -o {path}` writes a commented config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ConfigError(f"{path}: not valid YAML: {place}{error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values")
    return tree


def _anchor_paths(tree: Tree, folder: Path) -> None:
    """Make the paths that a file names relative to the file; in place."""
    data = tree.get("data")
    if isinstance(data, dict):
        for key in ("path", "truth_path"):
            if isinstance(data.get(key), str) and "://" not in data[key]:
                data[key] = str(folder / Path(data[key]).expanduser())
    posterior = tree.get("posterior")
    if isinstance(posterior, dict) and isinstance(posterior.get("reviewed"), str):
        posterior["reviewed"] = str(folder / Path(posterior["reviewed"]).expanduser())
    review = tree.get("review")
    if isinstance(review, dict) and isinstance(review.get("file"), str):
        review["file"] = str(folder / Path(review["file"]).expanduser())
    evaluate = tree.get("evaluate")
    if isinstance(evaluate, dict):
        _anchor_evaluation(evaluate, folder)
    for section in (tree, evaluate):
        llm = section.get("llm") if isinstance(section, dict) else None
        if isinstance(llm, dict) and isinstance(llm.get("adapter"), str):
            llm["adapter"] = str(folder / Path(llm["adapter"]).expanduser())
    if isinstance(tree.get("ledger"), str):
        tree["ledger"] = str(folder / Path(tree["ledger"]).expanduser())
    prompts = tree.get("prompts")
    if isinstance(prompts, dict):
        for key, text in prompts.items():
            if isinstance(text, str) and text.startswith("file:"):
                prompts[key] = f"file:{folder / Path(text.removeprefix('file:')).expanduser()}"


def _anchor_evaluation(evaluate: Tree, folder: Path) -> None:
    path, context, adapters = (evaluate.get(key) for key in ("path", "context", "adapters"))
    if isinstance(path, str) and "://" not in path:
        evaluate["path"] = str(folder / Path(path).expanduser())
    if isinstance(context, str) and context not in {"noisy", "cleaned"} and "://" not in context:
        evaluate["context"] = str(folder / Path(context).expanduser())
    if isinstance(adapters, dict):
        # what is no folder is a server's name
        places = {name: folder / Path(str(adapter)).expanduser() for name, adapter in adapters.items()}
        adapters |= {name: str(place) for name, place in places.items() if place.is_dir()}


def _read_prompt_files(tree: Tree) -> None:
    """Replace `file:PATH` by the file's text, so that the config says all that is sent; in place."""
    prompts = tree.get("prompts")
    if not isinstance(prompts, dict):
        return
    for key, text in list(prompts.items()):
        if isinstance(text, str) and text.startswith("file:"):
            path = Path(text.removeprefix("file:"))
            try:
                prompts[key] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"prompts.{key}: can't read {path}: {error}") from None


def _apply(tree: Tree, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write --set a.b=value")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        value = text
    if isinstance(value, dict) and value and ":" not in text:  # '{answer}' is a slot, not a mapping
        value = text
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        below = node.get(parent)
        if parent == "task" and isinstance(below, str):
            below = {"preset": below}
        node[parent] = below if isinstance(below, dict) else {}
        node = node[parent]
    node[last] = value


def _preset(name: object, presets: Mapping[str, Tree]) -> Tree:
    if isinstance(name, str) and name in presets:
        return dict(presets[name])
    there = f"there are {', '.join(presets)}, or give kind and instruction"
    raise ConfigError(f"task: no preset '{name}'; {there}{meant(name, presets)}")


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return one tree over another: of a mapping that both have, the keys of both."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _explain(error: ValidationError) -> str:
    """Return one line for the first thing that is wrong, and how many more there are."""
    first, *more = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        line = f"unknown key '{key}'{_suggest(first['loc'])}"
    else:
        said = first["msg"].removeprefix("Value error, ")
        # a key in the wrong place isn't shown, nor a section, whose message names its keys
        hidden = {"base_url", "api_key_env", "extra_body"} & set(first["loc"]) or isinstance(first["input"], dict)
        wrong = "" if hidden else f", not {first['input']!r}"
        line = f"'{key}': {said[:1].lower()}{said[1:]}{wrong}" if key else f"{said}{wrong}"
        if first["type"] == "literal_error":
            line += meant(first["input"], re.findall(r"'([^']*)'", first["ctx"]["expected"]))
    return f"{line} ({len(more)} more)" if more else line


def _suggest(loc: tuple[int | str, ...]) -> str:
    section: Any = Config
    for part in loc[:-1]:
        section = section_in(section.model_fields[part].annotation)
        if section is None:
            return ""
    return meant(loc[-1], section.model_fields) or f"; known here: {', '.join(section.model_fields)}"
