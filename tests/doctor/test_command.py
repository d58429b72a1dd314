"""`robustft doctor` as it is called: its lines, its JSON, its exit codes, and that no key gets out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from doctor.endpoint import Endpoint
from robustft.doctor.findings import Finding, Report
from robustft.terminal.doctor import show_report

KEY = "sk-canary-0123456789abcdef"


async def called(folder: Path, url: str, *words: str, **sections: Any) -> subprocess.CompletedProcess[str]:
    tree = {"llm": {"backend": "openai", "model": "m", "base_url": url}} | sections
    (folder / "c.yaml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "robustft", "doctor", str(folder / "c.yaml"), *words]
    surroundings = os.environ | {"OPENAI_API_KEY": KEY, "XDG_CACHE_HOME": str(folder / "cache")}
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=surroundings
    )
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


async def test_a_run_can_go_on(tmp_path: Path) -> None:
    async with Endpoint(key=KEY, constrains=()) as endpoint:
        done = await called(tmp_path, endpoint.url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"m at {endpoint.url}"
    assert lines[1].startswith("reachable: ok: answers after")
    assert any(line.startswith("constraint: degraded: structured_outputs ignored") for line in lines)
    assert lines[-1] == "a run can go on"
    assert len(lines) <= 24
    (kept,) = (tmp_path / "cache").rglob("*.json")
    assert str(kept) in done.stdout
    assert json.loads(kept.read_text())["gives_scores"] is True
    assert KEY not in kept.read_text()


async def test_a_run_that_cannot_is_told_why_in_one_line(tmp_path: Path) -> None:
    async with Endpoint(prompt_logprobs=False) as endpoint:
        done = await called(tmp_path, endpoint.url, "--json", experts=["likelihood"])
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["findings"]["scoring"]["result"] == "failed"
    assert (found["can_run"], found["examined"]) == (False, f"m at {endpoint.url}")
    assert found["capabilities"]["gives_scores"] is False
    assert found["spent"]["requests"] == len(endpoint.seen)
    assert done.stderr == f"robustft: a run can't go on: {found['why']}\n"
    assert found["why"].startswith("scoring: ")


def test_a_terminal_is_shown_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "100", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    show_report(Report("m [x] at u", {"model": Finding("failed", "[red]seen[/red]", "way out")}))
    said = capsys.readouterr().out
    assert "m [x] at u" in said
    assert "[red]seen[/red]" in said
    assert "\x1b[31mfailed" in said
    assert "can go on" not in said
