from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.server import ChatServer
from robustft.audit import REFERENCE, AuditedRows, audit, figures
from robustft.config import Config
from robustft.errors import ConfigError, DataError
from robustft.evaluate.accuracy import share
from robustft.pipeline import denoise
from robustft.records import Decision, Example, Verdict
from robustft.report.metrics import detection
from robustft.run import RunDir
from support import MakeConfig, write_moods

METHODS = get_args(Config.model_fields["method"].annotation)
FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def rows(*columns: str, confidence: float = 1.0) -> AuditedRows:
    """Make rows from strings of 0 and 1: planted, flagged, trained, as before, as planted."""
    planted, flagged, trained, as_before, as_planted = (np.array([bit == "1" for bit in flags]) for flags in columns)
    return AuditedRows(planted, flagged, trained, as_before, as_planted, np.full(len(planted), confidence))


def test_a_small_case_by_hand() -> None:
    found = figures(
        rows(
            "1111100000",  # planted
            "1110011000",  # found
            "1101101111",  # trained on
            "1010001111",  # as before
            "0101111111",  # as planted
        )
    )
    assert (found["n"], found["planted"]) == (10, 5)
    expected = {
        "recall": (3, 5),
        "precision": (3, 5),
        "relabel_accuracy": (1, 4),  # of rows 0, 1, 3, 4
        "planted_left_in": (3, 5),  # rows 1, 3, 4
        "false_corrections": (1, 5),  # row 5 is lost
    }
    assert {name: (found[name]["count"], found[name]["n"]) for name in expected} == expected
    assert found["f1"]["value"] == pytest.approx(0.6)
    assert found["confidence"]["as_before"]["count"] == 5


def test_what_is_undefined_is_none() -> None:
    none = {"count": 0, "n": 0, "value": None, "ci95": None}
    found = figures(rows("11", "00", "00", "00", "11"))
    assert found["precision"] == found["relabel_accuracy"] == found["false_corrections"] == none
    assert found["f1"]["value"] == 0.0
    assert (found["confidence_holds"], found["warning"]) == (None, "no row is trained on")
    assert figures(rows("00", "00", "11", "11", "11"))["f1"] == {"value": None, "ci95": None}


def test_the_interval_is_wilsons() -> None:
    # its ends are the shares p0 from which the count is 1.96 of p0's own standard errors away
    low, high = share(np.arange(10) < 8)["ci95"]
    for end in (low, high):
        assert abs(0.8 - end) / (end * (1 - end) / 10) ** 0.5 == pytest.approx(1.959964)
    assert low < 0.8 < high


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_an_interval_holds_its_share_and_narrows(hits: list[bool]) -> None:
    once, often = share(np.array(hits)), share(np.array(hits * 4))
    for low, high in (once["ci95"], often["ci95"]):
        assert 0.0 <= low <= once["value"] <= high <= 1.0
    assert often["ci95"][1] - often["ci95"][0] < once["ci95"][1] - once["ci95"][0]


@given(pairs=FLAGS, seed=st.integers(0, 9))
def test_f1_is_that_of_the_detection(pairs: list[tuple[bool, bool]], seed: int) -> None:
    planted, flagged = (np.array(column) for column in zip(*pairs, strict=True))
    blank = np.zeros(len(pairs), bool)
    audited = AuditedRows(planted, flagged, blank, blank, blank, np.zeros(len(pairs)))
    f1, expected = figures(audited, seed=seed)["f1"], detection(flagged, planted)["f1"]
    assert f1["value"] == (None if expected is None else pytest.approx(expected))
    assert figures(audited, seed=seed)["f1"] == f1
    assert expected is None or 0.0 <= f1["ci95"][0] <= f1["ci95"][1] <= 1.0


def test_the_bootstraps_interval_covers_as_often_as_it_says() -> None:
    """Of rows whose true F1 is known, about 95 of 100 intervals hold it."""
    draw = np.random.default_rng(0)
    blank = np.zeros(400, bool)
    held = 0
    for _ in range(300):
        planted = draw.random(400) < 0.2
        flagged = np.where(planted, draw.random(400) < 0.8, draw.random(400) < 0.1)
        low, high = figures(AuditedRows(planted, flagged, blank, blank, blank, np.zeros(400)))["f1"]["ci95"]
        held += low <= 2 * 0.16 / (0.24 + 0.2) <= high
    assert abs(held / 300 - 0.95) < 3 * (0.95 * 0.05 / 300) ** 0.5 + 0.01


def test_confidence_is_held_against_what_is_as_before() -> None:
    def check(confidence: float, right: int, estimate: float | None = None) -> tuple[bool, str]:
        n = 1000
        columns = ["1" * 100 + "0" * 900, "0" * n, "1" * n, "1" * right + "0" * (n - right), "1" * n]
        found = figures(rows(*columns, confidence=confidence), estimate)
        return found["confidence_holds"], found["warning"] or ""

    assert check(0.9, 900) == (True, "")
    assert check(0.5, 900) == (True, "")
    holds, warning = check(0.99, 900)
    assert not holds
    assert "is 99.0 %, but only 90.0 % (88.0 to 91.7)" in warning
    assert "has no estimate" in warning
    # 0.28 is the planted 0.1 and a fifth of the rest
    assert check(0.99, 800, 0.28) == (True, "")
    holds, warning = check(0.99, 700, 0.28)
    assert not holds
    assert "explain 20.0 points at most" in warning
    # the planted rows explain nothing
    assert not check(0.99, 900, 0.1)[0]


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_is_audited(tmp_path: Path, make: MakeConfig, method: str) -> None:
    config = make(write_moods(tmp_path / "d.csv", n=120), method=method)
    found = await audit(config, tmp_path / "run", rate=0.25)
    run = RunDir(tmp_path / "run/audit-symmetric")
    assert run.read_json("audit.json") == found
    examples, verdicts, decisions = list(run.load(Example)), list(run.load(Verdict)), list(run.load(Decision))
    before = [e.source[REFERENCE] for e in examples]
    planted = [e.response != was for e, was in zip(examples, before, strict=True)]
    assert (found["n"], found["planted"], sum(planted)) == (120, 30, 30)
    assert found["recall"]["count"] == sum(v.noisy for v, p in zip(verdicts, planted, strict=True) if p)
    trained = [d.decision in {"keep", "relabel"} for d in decisions]
    fine = [t and d.response_final == was for t, d, was in zip(trained, decisions, before, strict=True)]
    lost = sum(not f for f, p in zip(fine, planted, strict=True) if not p)
    assert found["false_corrections"]["count"] == lost
    mended = sum(f for f, p in zip(fine, planted, strict=True) if p)
    assert found["relabel_accuracy"]["count"] == mended
    assert list((run.path / "export").glob("*.jsonl")) == []
    if method == "none":
        assert found["recall"]["value"] == found["relabel_accuracy"]["value"] == 0.0
        assert found["planted_left_in"]["value"] == 1.0
        assert lost == 0
        assert not found["confidence_holds"]


@pytest.mark.parametrize("kind", ["asymmetric", "confusable", "neighbour"])
async def test_every_kind_has_its_folder_and_a_second_audit_asks_nothing(
    tmp_path: Path, make: MakeConfig, kind: Any
) -> None:
    config = make(write_moods(tmp_path / "d.csv"))
    found = await audit(config, tmp_path / "run", 0.2, kind, seed=1, limit=40)
    assert (found["n"], found["planted"], found["kind"]) == (40, 8, kind)
    stages = (tmp_path / f"run/audit-{kind}/stages.json").read_bytes()
    assert await audit(config, tmp_path / "run", 0.2, kind, seed=1, limit=40) == found
    assert (tmp_path / f"run/audit-{kind}/stages.json").read_bytes() == stages


async def test_calls_that_dont_see_the_response_are_not_made_again(tmp_path: Path, make: MakeConfig) -> None:
    async with ChatServer(answer=lambda body: f"Answer: {'ABC'[len(str(body['messages'])) % 3]}") as server:
        path = write_moods(tmp_path / "d.csv", n=30)
        llm = {"backend": "openai", "base_url": server.url, "model": "m"}
        config = make(path, llm=llm, method="self-label", data={"truth": None})
        await denoise(config, tmp_path / "run")
        asked = len(server.seen)
        found = await audit(config, tmp_path / "run", 0.3)
    assert asked == len(server.seen) >= 30
    assert found["calls"]["requests"] == 0


async def test_the_users_truth_is_not_looked_at(tmp_path: Path, make: MakeConfig) -> None:
    path = write_moods(tmp_path / "d.csv")
    decisions = []
    # neither the column nor the file is there, which any look would find
    for name, data in (("a", {"truth": None}), ("b", {"truth": "nope"}), ("c", {"truth_path": "gone.csv"})):
        config = make(path, method="none", llm={"backend": "local"}, data={"truth": None} | data)
        await audit(config, tmp_path / name)
        run = RunDir(tmp_path / name / "audit-symmetric")
        assert (run.config().data.truth, run.config().data.truth_path) == (REFERENCE, None)
        decisions.append(list(run.load(Decision)))
    assert decisions[0] == decisions[1] == decisions[2]


async def test_the_scripted_model_keeps_a_truth_that_isnt_planted_over(tmp_path: Path, make: MakeConfig) -> None:
    path = write_moods(tmp_path / "d.csv", noise=0.0)
    examples = []
    for name in ("truth", "answer"):
        await audit(make(path, method="none", data={"truth": name}), tmp_path / name, 0.5)
        examples.append(list(RunDir(tmp_path / name / "audit-symmetric").load(Example)))
    truths = [[example.truth for example in run] for run in examples]
    assert truths[0] == truths[1] == [example.source["truth"] for example in examples[0]]


async def test_open_answers_and_rows_without_a_response(tmp_path: Path, make: MakeConfig) -> None:
    answers = ["Rome", "Paris, France", None, "Bern or so", "New York"] * 8
    path = tmp_path / "d.jsonl"
    lines = [{"question": f"Place {n}?", "answer": a, "truth": a or "Rome"} for n, a in enumerate(answers)]
    path.write_text("\n".join(map(json.dumps, lines)))
    for kind in ("symmetric", "truncated"):
        found = await audit(make(path, task={"kind": "short"}), tmp_path / "run", 0.5, kind)
        assert (found["n"], found["planted"]) == (32, 16)
    final = list(RunDir(tmp_path / "run/audit-truncated").load(Example))
    assert {e.response for e in final if e.response != e.source[REFERENCE]} <= {"Ro", "Paris,", "Bern", "New"}


async def test_mistakes(tmp_path: Path, make: MakeConfig) -> None:
    path = write_moods(tmp_path / "d.csv", n=4)
    with pytest.raises(ConfigError, match="the scripted model needs a column"):
        await audit(make(path, data={"truth": None}), tmp_path / "run")
    with pytest.raises(DataError, match=r"d\.csv: rate 0\.1 of 4 responses is none of them; raise it"):
        await audit(make(path), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"data\.path: not set"):
        await audit(Config(), tmp_path / "run")
    with pytest.raises(ConfigError, match="half an option is none"):
        await audit(make(path), tmp_path / "run", 0.5, "truncated")
