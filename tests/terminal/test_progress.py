from __future__ import annotations

import re

import pytest

from robustft.config import PriceConfig
from robustft.llm.calls import Calls
from robustft.terminal.progress import StageProgress


@pytest.fixture
def every_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lines said however fast they come."""
    monkeypatch.setattr("robustft.terminal.progress.APART", -1.0)


def test_what_is_over_in_a_moment_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress() as progress:
        progress.start("select", 40)
        for _ in range(40):
            progress.advance()
        progress.finish()
    assert [line.partition(" in ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "select: 40 rows",
        "select: done, 40 rows",
    ]


@pytest.mark.usefixtures("every_tenth")
def test_plain_progress_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress() as progress:
        progress.start("train", 40)
        for _ in range(5):
            progress.advance(8)
        progress.finish()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train: 40 rows"
    assert re.fullmatch(r"train: 8 of 40 rows, [\d.,]+ rows/s, 0\.0 s left", said[1])
    assert len(said) == 6  # nothing is left to say of the last step
    assert said[-1].startswith("train: done, 40 rows in ")


@pytest.mark.usefixtures("every_tenth")
def test_a_line_says_what_the_stage_has_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    calls = Calls(requests=100)
    with StageProgress() as progress:
        progress.watch(calls, PriceConfig(prompt=2, completion=4))
        progress.start("detect", 10)
        calls.include(Calls(requests=1200, cached=3, failed=2, prompt_tokens=10**6, completion_tokens=10**5))
        progress.abstain()
        progress.abstain(4)
        progress.advance(5)
        progress.finish()
        progress.start("select", 10)
        progress.finish()
    said = capsys.readouterr().err.splitlines()
    assert said[1].endswith("1,200 calls, 3 from the ledger, cost 2.40, 5 abstained, 2 failed")
    assert said[-1].endswith(" s")  # the next stage has asked nothing


def test_a_stage_without_rows_and_rows_beyond_the_total_are_no_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress() as progress:
        progress.start("export", 0)
        progress.advance(0)
        progress.finish()
        progress.start("export", 2)
        progress.advance(5)
        progress.finish()
    assert "export: done, 5 rows" in capsys.readouterr().err


def test_a_terminal_line_says_what_goes_wrong_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    calls = Calls()
    with StageProgress() as progress:
        progress.watch(calls, PriceConfig(prompt=2, completion=4))
        progress.start("direct", 480)
        calls.include(Calls(requests=480, failed=6, prompt_tokens=10**6))
        progress.abstain(19)
        progress.advance(480)
        progress.finish()
        progress.start("probe", 0)
        progress.finish()
    direct, probe = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err).splitlines()[-2:]
    assert re.search(r"480/480 +in [\d.]+ s +[\d,]+/s 6 failed · 19 abstained · cost 2", direct)
    assert re.search(r"0/0 +in 0\.0 s", probe)
