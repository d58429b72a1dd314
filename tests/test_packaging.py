"""The wheel holds all that a run needs, and the project's papers say the same of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
import yaml

import robustft
from support import write_moods

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_runs_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    write_moods(tmp_path / "d.csv")
    config = {"data": {"path": "d.csv"}, "llm": {"backend": "scripted"}, "method": "none", "embedder": "tfidf"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config | {"ledger": "l.sqlite"}), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    where = "import robustft; print(robustft.__file__)"
    for words in (["-c", where], ["-m", "robustft", "run", "c.yaml", "-o", "run"]):
        done = subprocess.run(
            [sys.executable, "-P", *words], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        if words[0] == "-c":
            assert Path(done.stdout.strip()).is_relative_to(tmp_path / "site")
    assert "<style>" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert (tmp_path / "site/robustft/py.typed").exists()


def test_the_wheel_holds_the_package_and_its_licence_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"robustft", f"robustft-{robustft.__version__}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/robustft").rglob("*.*")}
    assert {name for name in sources if "__pycache__" not in name} <= set(names)


def test_every_library_that_make_installs_is_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    wanted = {re.split(r"[<>=\[; ]", line)[0].lower() for line in lines} - {"robustft"}
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted |= set(re.findall(r"-c constraints\.txt ([a-z]\S*)", recipes))
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "mutmut" in wanted
    assert wanted - set(re.findall(r"^([a-z0-9-]+)==\S+$", lock, re.MULTILINE)) == set()


def test_the_citation_and_the_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == robustft.__version__
    assert citation["references"][0]["title"].startswith("RobustFT: ")
    assert f"## {robustft.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
