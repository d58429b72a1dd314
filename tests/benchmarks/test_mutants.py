from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from benchmarks.reliability import mutants


def write(folder: Path, module: str, codes: Sequence[int | None]) -> None:
    path = folder / f"mutants/src/robustft/{module}.py.meta"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps({"exit_code_by_key": {f"m{number}": code for number, code in enumerate(codes)}}))


def test_changes_are_counted_by_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mutants.main([]) == 2
    write(tmp_path, "select/decide", [1] * 8 + [0])
    write(tmp_path, "tasks/short", [1, 33, -24])
    write(tmp_path, "tasks/empty", [])
    page = tmp_path / "page.md"
    page.write_text("<!-- mutants:begin -->\n<!-- mutants:end -->\n")
    assert mutants.main(["--page", str(page)]) == 1
    assert "| robustft/select/decide.py | 9 | 8 | 88.9% |\n" in page.read_text()
    assert "| **all** | 12 | 10 | 83.3% |\n" in page.read_text()
    assert "empty" not in capsys.readouterr().out


def test_enough_is_enough_and_what_was_not_tried_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "select/decide", [1] * 9)
    assert mutants.main([]) == 0
    write(tmp_path, "tasks/short", [None])
    assert mutants.main([]) == 1
