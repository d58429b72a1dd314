"""The pages say what is so: commands parse, configs load, links lead somewhere, the site builds."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
import yaml

from llm.server import ChatServer
from robustft.cli.app import app
from robustft.cli.options import keys
from robustft.config import Config
from robustft.loading import resolved
from robustft.tasks.presets import PRESETS
from scripts import configuration

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> Iterator[str]:
    """Yield the lines of indented blocks that call robustft, those that go on joined, without their comments."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^    (robustft [a-z].*)$", text, re.MULTILINE):
        yield line.partition("  #")[0].strip()


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def parse(line: str) -> dict[str, Any]:
    """Parse a command as the program would, without running it. Raises what typer does."""
    group = typer.main.get_command(app)
    assert hasattr(group, "resolve_command")
    with group.make_context("robustft", shlex.split(line)[1:]) as context:
        name, command, rest = group.resolve_command(context, shlex.split(line)[1:])
        with command.make_context(name, list(rest), parent=context) as inner:
            return dict(inner.params)


COMMANDS = [(page, line) for page in PAGES for line in commands(page)]
CONFIGS = [(page, block) for page in PAGES for block in fenced(page, "yaml")]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page.stem}: {line[:60]}" for page, line in COMMANDS])
def test_every_command_on_a_page_is_one(page: Path, line: str) -> None:
    parameters = parse(line)
    for override in parameters.get("sets") or ():
        key = override.partition("=")[0]
        named_by_user = f"{key.rpartition('.')[0]}=" in keys("")  # evaluate.adapters.MINE
        assert f"{key}=" in keys(key) or named_by_user, f"{page.name}: {key}"


def test_a_command_that_is_none_would_be_found() -> None:
    for line in ("robustft rnu c.yaml", "robustft run c.yaml -o x --limt 3", "robustft review"):
        with pytest.raises(Exception, match=r"No such|Missing"):
            parse(line)


@pytest.mark.parametrize(("page", "block"), CONFIGS, ids=[page.stem for page, _ in CONFIGS])
def test_every_config_on_a_page_is_one(page: Path, block: str) -> None:
    tree = yaml.safe_load(block)
    assert isinstance(tree, dict)
    assert isinstance(resolved(tree, page.name, PRESETS), Config)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:|#)[^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_page_of_all_keys_is_that_of_the_code() -> None:
    assert configuration.PAGE.read_text(encoding="utf-8") == configuration.page(), "python -m scripts.configuration"


def test_every_key_is_on_its_page_with_its_meaning() -> None:
    text = configuration.page()
    for key in keys(""):
        assert f"`{key.rstrip('=').rpartition('.')[2]}`" in text, key
    assert "| None |" not in text


def test_core_dependencies_are_few_and_each_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=\[ ]", line)[0] for line in project["dependencies"]]
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    assert len(names) <= 15
    assert re.findall(r"^\| (\S+) \| .", page, re.MULTILINE)[1:] == sorted(names)


def test_there_are_questions_with_answers() -> None:
    text = (ROOT / "docs/faq.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\*\*[^*]+[?.]\*\* \S", text, re.MULTILINE)) >= 15


async def test_the_python_on_its_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robustft.api.user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.setattr("robustft.llm.models.user_cache_path", lambda name: tmp_path / "cache")
    texts = [f"review {i}: {('bad', 'fair', 'good')[i % 3]} shoes, number {i * 7919}" for i in range(60)]
    labels = [("negative", "neutral", "positive")[i % 3] for i in range(60)]
    pd.DataFrame({"text": texts, "label": labels}).to_csv("reviews.csv", index=False)
    (block,) = fenced(ROOT / "docs/python.md", "python")
    async with ChatServer(models=("Qwen/Qwen2.5-7B-Instruct",)) as server:
        code = block.replace("http://127.0.0.1:8000/v1", server.url).replace(
            "reviews,\n", 'reviews, embedder="tfidf",\n'
        )
        names: dict[str, Any] = {}
        await asyncio.to_thread(exec, code, names)
    assert len(names["result"].decisions) == 60
    assert list(names["result"].clean.columns) == ["text", "label"]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list((tmp_path / "site").rglob("index.html"))
    assert len(pages) >= len(list((ROOT / "docs").glob("*.md")))
    loaded = re.compile(r"(?:src|href)=\"https?://[^\"]+\\.(?:js|css|woff2?)\"")
    assert not [page for page in pages if loaded.search(page.read_text(encoding="utf-8"))]
