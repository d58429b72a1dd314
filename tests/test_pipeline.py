from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.server import ChatServer
from robustft.pipeline import STAGES, denoise
from robustft.records import OUTCOMES, Answer, Decision, Example, Relabel, Verdict
from robustft.run import RunDir
from support import SHARED_DATA, MakeConfig, write_moods


@pytest.mark.parametrize("method", ["paper", "self-select", "self-label", "none"])
async def test_every_row_ends_in_exactly_one_decision(tmp_path: Path, make: MakeConfig, method: str) -> None:
    config = make(write_moods(tmp_path / "d.csv"), method=method)
    metrics = await denoise(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    examples, decisions = run.load(Example), run.load(Decision)
    assert [d.id for d in decisions] == [e.id for e in examples]
    assert sum(metrics["decisions"].values()) == metrics["n"] == 60
    assert set(metrics["decisions"]) == set(OUTCOMES)
    assert all(d.reason for d in decisions)
    exported = (tmp_path / "run/export/train_alpaca.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(exported) == metrics["decisions"]["keep"] + metrics["decisions"]["relabel"]
    assert (tmp_path / "run/report.html").exists()
    if method == "none":
        assert metrics["decisions"]["keep"] == 60
        assert metrics["calls"]["requests"] == 0


async def test_the_paper_method_follows_its_rules(tmp_path: Path, make: MakeConfig) -> None:
    config = make(write_moods(tmp_path / "d.csv", n=120), llm={"scripted": {"accuracy": 0.8}})
    await denoise(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    answers = {(a.id, a.expert): a for a in run.load(Answer)}
    verdicts = {v.id: v for v in run.load(Verdict)}
    clean = {v.id for v in verdicts.values() if not v.noisy}
    relabels = {r.id: r for r in run.load(Relabel)}
    assert set(relabels) == set(verdicts) - clean
    nll = {row: r.nll for row, r in relabels.items() if r.response is not None and r.nll is not None}
    median = np.median(list(nll.values()))
    for decision in run.load(Decision):
        if decision.id in clean:
            assert decision.decision == "keep"
            views = [answers[decision.id, expert].value for expert in ("direct", "reasoning")]
            assert views == [decision.response_given] * 2
        else:
            relabel = relabels[decision.id]
            assert len(relabel.context_ids) == 3
            assert decision.id not in relabel.context_ids
            assert set(relabel.context_ids) <= clean
            assert relabel.nll == answers[decision.id, "context"].nll
            assert relabel.response == answers[decision.id, "review"].value
            assert (decision.decision in {"keep", "relabel"}) == (nll[decision.id] < median)


async def test_running_again_asks_nothing_and_changes_nothing(tmp_path: Path, make: MakeConfig) -> None:
    config = make(write_moods(tmp_path / "d.csv"))
    first = await denoise(config, tmp_path / "run")
    stages = (tmp_path / "run/stages.json").read_bytes()
    assert await denoise(config, tmp_path / "run") == first
    assert (tmp_path / "run/stages.json").read_bytes() == stages
    # another folder, the same ledger: no call, the same bytes
    again = await denoise(config, tmp_path / "other")
    assert (again["calls"]["requests"], again["calls"]["cached"]) == (0, first["calls"]["requests"])
    for name in ("decisions.parquet", "export/train_alpaca.jsonl", "export/train_messages.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize("stage", list(STAGES))
async def test_a_run_that_was_cut_off_resumes_to_the_same_end(tmp_path: Path, make: MakeConfig, stage: str) -> None:
    config = make(write_moods(tmp_path / "d.csv"))
    first = await denoise(config, tmp_path / "run")
    whole = (tmp_path / "run/decisions.parquet").read_bytes()
    run = RunDir(tmp_path / "run")
    for name in list(STAGES)[list(STAGES).index(stage) :]:
        run.finish(name, None)
    resumed = await denoise(config, tmp_path / "run")
    assert resumed["calls"]["requests"] <= first["calls"]["requests"]
    assert resumed["decisions"] == first["decisions"]
    assert (tmp_path / "run/decisions.parquet").read_bytes() == whole


async def test_a_changed_file_or_config_starts_over(tmp_path: Path, make: MakeConfig) -> None:
    path = write_moods(tmp_path / "d.csv")
    await denoise(make(path), tmp_path / "run")
    write_moods(path, n=30)
    assert (await denoise(make(path), tmp_path / "run"))["n"] == 30
    assert (await denoise(make(path), tmp_path / "run", limit=10))["n"] == 10


async def test_failed_calls_leave_review_and_are_asked_again(tmp_path: Path, make: MakeConfig) -> None:
    faulty = make(write_moods(tmp_path / "d.csv", n=200), llm={"scripted": {"faults": 0.1}})
    metrics = await denoise(faulty, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    failed = {a.id for a in run.load(Answer) if a.finish == "error"}
    assert failed
    assert {d.id for d in run.load(Decision) if d.decision == "review"} == failed
    assert metrics["calls"]["failed"] >= len(failed)
    assert not run.finished("detect", run.read_json("stages.json")["read"]["key"])


async def test_rows_without_a_response_are_labelled_or_left_out(tmp_path: Path, make: MakeConfig) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"question": f"Number {i}?", "answer": "A" if i % 2 else None, "options": ["x", "y"]} for i in range(40)]
    path.write_text("\n".join(json.dumps(row | {"truth": "A"}) for row in rows))
    assert (await denoise(make(path, method="none"), tmp_path / "none"))["decisions"]["drop"] == 20
    await denoise(make(path, method="self-label"), tmp_path / "run")
    for example, decision in zip(
        RunDir(tmp_path / "run").load(Example), RunDir(tmp_path / "run").load(Decision), strict=True
    ):
        assert decision.decision == "relabel" or example.response is not None


async def test_what_is_trained_on_has_the_tasks_form(tmp_path: Path, make: MakeConfig) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"question": f"Capital {i}?", "answer": ["Rome", "Roma"], "truth": "Rome"} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = make(path, task={"kind": "short", "target": "Answer: {answer}", "instruction": ""}, method="none")
    await denoise(config, tmp_path / "run")
    lines = (tmp_path / "run/export/train_messages.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["messages"] == [
        {"role": "user", "content": "Capital 0?"},
        {"role": "assistant", "content": "Answer: Rome"},
    ]
    # a conversation keeps its own turns and its own form
    chat = {"messages": [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": "Rome"}]}
    path.write_text(json.dumps(chat))
    config = make(path, data={"truth": None}, task={"kind": "short", "target": "Answer: {answer}"}, method="none")
    await denoise(config, tmp_path / "chat")
    line = json.loads((tmp_path / "chat/export/train_messages.jsonl").read_text())
    assert line["messages"] == chat["messages"]


async def test_nobody_sees_the_truth_or_an_unmapped_column(tmp_path: Path, make: MakeConfig) -> None:
    """A server records all that is sent, embeddings included; changing the hidden columns changes no decision."""

    # the answers depend on the prompt alone, and are often enough right to make clean rows
    def answer(body: dict[str, Any]) -> str:
        return f"Answer: {'ABC'[sum(map(ord, str(body['messages'][-1]['content'])[20:60])) % 3]}"

    async with ChatServer(answer=answer) as server:
        sections = {
            "llm": {"backend": "openai", "base_url": server.url, "model": "m"},
            "embedder": "openai:m",
            "task": {"kind": "short"},
        }
        runs = []
        for run, word in (("a", "CANARY"), ("b", "MAGPIE")):
            path = tmp_path / f"{run}.csv"
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "question", "answer", "truth", "gt"])
                writer.writerows(
                    [
                        f"r{i}",
                        f"What is the letter of item {i * 7919}?",
                        "ABC"[i % 3],
                        f"{word}-TRUTH-{i}",
                        f"{word}-GT-{i}",
                    ]
                    for i in range(30)
                )
            config = make(
                path, **sections, ledger=str(tmp_path / f"{run}.sqlite"), experts=["direct", "reasoning", "agent"]
            )
            await denoise(config, tmp_path / run)
            runs.append(RunDir(tmp_path / run).load(Decision))
        sent = "".join(str(wire.body) for wire in server.seen)
    assert {wire.path.rsplit("/", 1)[-1] for wire in server.seen} >= {"completions", "embeddings"}
    assert len(server.seen) > 100
    assert "CANARY" not in sent
    assert "MAGPIE" not in sent
    assert runs[0] == runs[1]
    assert {d.decision for d in runs[0]} >= {"keep"}


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the FPB files are not in this checkout")
async def test_the_gt_column_of_fpb_leaks_nowhere(tmp_path: Path, make: MakeConfig) -> None:
    rows = list(csv.DictReader((SHARED_DATA / "fpb/noisy/noisy30.csv").open(encoding="utf-8")))[:40]
    runs = []
    for name, marked in (("plain", rows), ("marked", [row | {"gt": f"CANARY-{row['gt']}"} for row in rows])):
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(marked)
        async with ChatServer(answer=lambda body: "Answer: B") as server:
            config = make(
                path,
                data={"truth": None},
                llm={"backend": "openai", "base_url": server.url, "model": "m"},
                embedder="openai:m",
                ledger=str(tmp_path / f"{name}.sqlite"),
            )
            await denoise(config, tmp_path / name)
            assert not any("CANARY" in str(wire.body) for wire in server.seen)
            assert len(server.seen) > 80
        runs.append(RunDir(tmp_path / name).load(Decision))
    assert runs[0] == runs[1]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the FPB files are not in this checkout")
@pytest.mark.parametrize("noise", [30, 50, 70])
@pytest.mark.parametrize("accuracy", [0.6, 0.755])
async def test_the_unanimity_rule_has_its_closed_form(
    tmp_path: Path, make: MakeConfig, noise: int, accuracy: float
) -> None:
    """Independent votes of accuracy a, noise e, K options: P(clean) = (1-e) a^2 + e ((1-a)/(K-1))^2."""
    config = make(
        SHARED_DATA / f"fpb/noisy/noisy{noise}.csv",
        data={"truth": None, "truth_path": str(SHARED_DATA / "fpb/labeled.csv")},
        llm={"scripted": {"mode": "votes", "accuracy": accuracy}},
    )
    metrics = await denoise(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    n, e, slip = metrics["n"], metrics["truth"]["noise_rate"], (1 - accuracy) / 2
    kept_right, kept_wrong = (1 - e) * accuracy**2, e * slip**2
    clean = np.array([not verdict.noisy for verdict in run.load(Verdict)])
    p = kept_right + kept_wrong
    assert n == 1585
    assert abs(clean.mean() - p) < 3 * np.sqrt(p * (1 - p) / n)
    recall = 1 - slip**2
    wrong = e * n
    assert abs(metrics["truth"]["detection"]["recall"] - recall) < 3 * np.sqrt(recall * (1 - recall) / wrong)
    precision = e * recall / (1 - p)
    flagged = (1 - p) * n
    assert abs(metrics["truth"]["detection"]["precision"] - precision) < 3 * np.sqrt(
        precision * (1 - precision) / flagged
    )
