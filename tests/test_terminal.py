from __future__ import annotations

import re

import pytest

from robustft.terminal import StageProgress


def test_plain_progress_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress() as progress:
        progress.start("train", 40)
        for _ in range(5):
            progress.advance(8)
        progress.finish()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train: 40 rows"
    assert re.fullmatch(r"train: 8 of 40 rows, [\d.]+ rows/s, 0:00:00 left", said[1])
    assert len(said) == 6  # nothing is left to say of the last step
    assert said[-1].startswith("train: done, 40 rows in ")
