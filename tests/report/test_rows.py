from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np
import orjson
import pytest

from robustft.records import Decision, Example, Message
from robustft.report import rows
from robustft.report.rows import packed


def run(count: int, length: int = 40) -> tuple[list[Example], list[Decision]]:
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(97, 123, length))) for _ in range(count)]
    examples = [
        Example(f"r{i}", (Message(role="user", content=text),), "A", ("no", "yes")) for i, text in enumerate(texts)
    ]
    decisions = [Decision(e.id, "relabel", "A", "B", 0.9, "because", {"direct": "B", "probe": None}) for e in examples]
    return examples, decisions


def content(data: str) -> Any:
    return orjson.loads(gzip.decompress(base64.b64decode(data)))


def test_a_row_is_all_there() -> None:
    found = packed(*run(3))
    assert found["listed"] == 3
    page = content(found["data"])
    columns = page["columns"]
    assert columns["id"] == ["r0", "r1", "r2"]
    assert columns["given"][0] == "A · no"
    assert columns["final"][0] == "B · yes"
    assert page["outcomes"][columns["decision"][0]] == "relabel"
    assert page["optionSets"][columns["options"][0]] == ["no", "yes"]
    assert [[page["experts"][place], vote] for place, vote in columns["votes"][0]] == [["direct", "B"], ["probe", None]]
    assert packed(*run(3)) == found


@pytest.mark.parametrize("length", [50, 5000])
def test_what_does_not_fit_is_cut_and_said(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(rows, "MOST_BYTES", 60_000)
    found = packed(*run(5000, length))
    assert len(found["data"]) <= 60_000
    assert found["cut"] == rows.CUTS[-1]
    assert 0 < found["listed"] < 5000
    assert len(content(found["data"])["columns"]["id"]) == found["listed"]


def test_no_row_is_no_trouble() -> None:
    assert packed([], [])["listed"] == 0
