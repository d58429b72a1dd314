from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.server import ChatServer
from robustft.errors import ConfigError
from robustft.pipeline import STAGES, denoise
from robustft.records import OUTCOMES, Answer, Belief, Decision, Example, Relabel, Verdict
from robustft.run import RunDir
from support import SHARED_DATA, MakeConfig, Notes, write_moods


@pytest.mark.parametrize("method", ["posterior", "paper", "self-select", "self-label", "none"])
async def test_every_row_ends_in_exactly_one_decision(tmp_path: Path, make: MakeConfig, method: str) -> None:
    config = make(write_moods(tmp_path / "d.csv"), method=method, posterior={"noise": "symmetric"})
    metrics = await denoise(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    examples, decisions = list(run.load(Example)), list(run.load(Decision))
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
    answers = {(a.id, a.expert): a for a in list(run.load(Answer))}
    verdicts = {v.id: v for v in list(run.load(Verdict))}
    clean = {v.id for v in verdicts.values() if not v.noisy}
    relabels = {r.id: r for r in list(run.load(Relabel))}
    assert set(relabels) == set(verdicts) - clean
    nll = {row: r.nll for row, r in relabels.items() if r.response is not None and r.nll is not None}
    median = np.median(list(nll.values()))
    for decision in list(run.load(Decision)):
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
    failed = {a.id for a in list(run.load(Answer)) if a.finish == "error"}
    assert failed
    assert {d.id for d in list(run.load(Decision)) if d.decision == "review"} == failed
    assert metrics["calls"]["failed"] >= len(failed)
    assert not run.finished("detect", run.read_json("stages.json")["read"]["key"])


POSTERIOR: dict[str, Any] = {
    "method": "posterior",
    "experts": ["direct", "reasoning"],
    "posterior": {"noise": "symmetric", "pilot": 60},
}


async def test_calls_that_failed_are_told_of_once(tmp_path: Path, make: MakeConfig) -> None:
    notes = Notes()
    faulty = make(write_moods(tmp_path / "d.csv"), **POSTERIOR, llm={"scripted": {"faults": 0.2}})
    metrics = await denoise(faulty, tmp_path / "run", progress=notes)
    said = [line for line in notes.lines if "calls failed" in line]
    assert said == [f"{metrics['unanswered']['error']} calls failed; the same command asks them again"]


async def test_the_posterior_mends_labels_and_running_again_asks_nothing(tmp_path: Path, make: MakeConfig) -> None:
    config = make(write_moods(tmp_path / "d.csv", n=300), **POSTERIOR)
    first = await denoise(config, tmp_path / "run")
    accuracy = first["truth"]["label_accuracy"]
    assert accuracy["after_kept"] > accuracy["before"] + 0.15
    assert accuracy["after_all"] > accuracy["before"] + 0.03
    assert first["posterior"]["identified"]
    assert 300 < first["calls"]["requests"] <= 1.6 * 300
    assert await denoise(config, tmp_path / "run") == first
    again = await denoise(config, tmp_path / "other")
    assert (again["calls"]["requests"], again["calls"]["cached"]) == (0, first["calls"]["requests"])
    for name in ("decisions.parquet", "beliefs.parquet", "export/train_messages.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    beliefs, decisions = list(RunDir(tmp_path / "run").load(Belief)), list(RunDir(tmp_path / "run").load(Decision))
    assert [belief.id for belief in beliefs] == [f"r{i}" for i in range(300)] == [d.id for d in decisions]
    for belief, decision in zip(beliefs, decisions, strict=True):
        assert sum(belief.probs) == pytest.approx(1.0)
        assert decision.confidence == max(belief.probs)
        assert decision.response_final == belief.candidates[int(np.argmax(belief.probs))]


async def test_the_posterior_labels_what_has_no_response(tmp_path: Path, make: MakeConfig) -> None:
    path = write_moods(tmp_path / "d.csv", n=300)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | ({} if i % 5 == 0 else {"answer": ""}) for i, row in enumerate(rows))
    config = make(path, **POSTERIOR | {"experts": ["direct"]}, llm={"scripted": {"accuracy": 0.9}})
    metrics = await denoise(config, tmp_path / "run")
    assert metrics["posterior"]["identified"]
    run = RunDir(tmp_path / "run")
    unlabelled = {example.id: example.truth for example in list(run.load(Example)) if example.response is None}
    assert len(unlabelled) == 240
    decided = [decision for decision in list(run.load(Decision)) if decision.id in unlabelled]
    assert {decision.decision for decision in decided} <= {"relabel", "drop"}
    trained = [decision for decision in decided if decision.decision == "relabel"]
    assert len(trained) > 120
    assert np.mean([decision.response_final == unlabelled[decision.id] for decision in trained]) > 0.9


@pytest.mark.parametrize("accuracy", [None, 0.9])
async def test_without_any_response_the_stated_accuracy_is_all_there_is(
    tmp_path: Path, make: MakeConfig, accuracy: float | None
) -> None:
    path = write_moods(tmp_path / "d.csv", n=80)
    rows = [row | {"answer": ""} for row in csv.DictReader(path.open(encoding="utf-8"))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    believed = {"prior_accuracy": accuracy, "asking": "all"}
    config = make(path, **POSTERIOR | {"experts": ["direct"], "posterior": believed}, target_accuracy=0.8)
    metrics = await denoise(config, tmp_path / "run")
    assert metrics["posterior"]["identified"] == (accuracy is not None)
    assert (metrics["decisions"]["relabel"] > 0) == (accuracy is not None)
    if accuracy is None:
        assert "no label" in metrics["posterior"]["reason"]


async def test_labels_stay_where_the_experts_are_at_chance_until_rows_are_reviewed(
    tmp_path: Path, make: MakeConfig
) -> None:
    path = write_moods(tmp_path / "d.csv", n=300)
    chance = {"scripted": {"accuracy": 1 / 3}}
    config = make(path, **POSTERIOR, llm=chance)
    metrics = await denoise(config, tmp_path / "run")
    assert not metrics["posterior"]["identified"]
    assert metrics["decisions"]["keep"] == 300
    assert metrics["calls"]["requests"] == 300 + 60
    assert "Not identified" in (tmp_path / "run/report.html").read_text(encoding="utf-8")

    truth = {row["id"]: row["truth"] for row in csv.DictReader(path.open(encoding="utf-8"))}
    seen = [f"r{i}" for i in range(100, 140)]
    (tmp_path / "seen.csv").write_text("id,answer\n" + "".join(f"{row},{truth[row]}\n" for row in seen))
    looked = POSTERIOR["posterior"] | {"reviewed": str(tmp_path / "seen.csv")}
    metrics = await denoise(make(path, **POSTERIOR | {"posterior": looked}, llm=chance), tmp_path / "run")
    assert metrics["posterior"]["identified"]
    assert "rests on the 40 reviewed rows" in metrics["posterior"]["reason"]
    decisions = {decision.id: decision for decision in list(RunDir(tmp_path / "run").load(Decision))}
    assert {decisions[row].decision for row in seen} == {"keep", "relabel"}
    assert all(decisions[row].response_final == truth[row] for row in seen)
    assert all(decisions[row].confidence == pytest.approx(1.0) for row in seen)


async def test_a_probe_alone_mends_labels_and_calls_no_model(tmp_path: Path, make: MakeConfig) -> None:
    path = write_moods(tmp_path / "d.csv", n=200)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    words = {"A": "fell loss cut weak closed", "B": "met held named moved said", "C": "rose gain won strong opened"}
    rng = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"question": " ".join(rng.choice(words[row["truth"]].split(), 3))} for row in rows)
    nowhere = {"backend": "openai", "base_url": "http://127.0.0.1:9/v1"}
    metrics = await denoise(make(path, **POSTERIOR | {"experts": ["probe"]}, llm=nowhere), tmp_path / "run")
    assert metrics["calls"]["requests"] == 0
    assert [(a.id, a.expert) for a in list(RunDir(tmp_path / "run").load(Answer))] == [(r["id"], "probe") for r in rows]
    assert metrics["truth"]["detection"]["f1"] > 0.9
    assert metrics["truth"]["label_accuracy"]["after_all"] > 0.9 > metrics["truth"]["label_accuracy"]["before"]


async def test_rows_without_a_response_are_labelled_or_left_out(tmp_path: Path, make: MakeConfig) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"question": f"Number {i}?", "answer": "A" if i % 2 else None, "options": ["x", "y"]} for i in range(40)]
    path.write_text("\n".join(json.dumps(row | {"truth": "A"}) for row in rows))
    assert (await denoise(make(path, method="none"), tmp_path / "none"))["decisions"]["drop"] == 20
    await denoise(make(path, method="self-label"), tmp_path / "run")
    for example, decision in zip(
        list(RunDir(tmp_path / "run").load(Example)), list(RunDir(tmp_path / "run").load(Decision)), strict=True
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
    # the recipes beside them take the run's seed
    await denoise(config.model_copy(update={"seed": 7}), tmp_path / "run")
    assert "seed: 7" in (tmp_path / "run/export/llamafactory_lora.yaml").read_text()
    # a conversation keeps its own turns and its own form
    chat = {"messages": [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": "Rome"}]}
    path.write_text(json.dumps(chat))
    config = make(path, data={"truth": None}, task={"kind": "short", "target": "Answer: {answer}"}, method="none")
    await denoise(config, tmp_path / "chat")
    line = json.loads((tmp_path / "chat/export/train_messages.jsonl").read_text())
    assert line["messages"] == chat["messages"]


@pytest.mark.parametrize(
    ("method", "experts", "kind", "truth"),
    [
        ("paper", ["direct", "reasoning", "agent"], "short", "{word}-TRUTH-{i}"),
        ("posterior", ["direct", "context"], "short", "{word}-TRUTH-{i}"),
        ("posterior", ["probe", "direct"], "choice", "{letter}"),
    ],
)
async def test_nobody_sees_the_truth_or_an_unmapped_column(
    tmp_path: Path, make: MakeConfig, method: str, experts: list[str], kind: str, truth: str
) -> None:
    """A server records all that is sent, embeddings included; changing the hidden columns changes no decision."""

    # the answers depend on the prompt alone, and are often enough right to make clean rows
    def answer(body: dict[str, Any]) -> str:
        asked = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
        item = int(re.findall(r"item (\d+)", asked[-1])[-1]) // 7919
        return f"Answer: {'ABC'[(item + (item % 4 == 0)) % 3]}"

    async with ChatServer(answer=answer) as server:
        sections = {
            "llm": {"backend": "openai", "base_url": server.url, "model": "m"},
            "embedder": "openai:m",
            "task": {"kind": kind, "options": ["x", "y", "z"] if kind == "choice" else []},
            "method": method,
            "experts": experts,
            "posterior": {"noise": "symmetric", "pilot": 10},
        }
        runs: list[list[Decision]] = []
        for run, word in (("a", "CANARY"), ("b", "MAGPIE")):
            path = tmp_path / f"{run}.csv"
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "question", "answer", "truth", "gt"])
                writer.writerows(
                    [
                        f"r{i}",
                        f"What is the letter of item {i * 7919}?",
                        "ABC"[(i + (i % 5 == 0)) % 3],
                        truth.format(word=word, i=i, letter="ABC"[(i + len(runs)) % 3]),
                        f"{word}-GT-{i}",
                    ]
                    for i in range(60)
                )
            config = make(path, **sections, ledger=str(tmp_path / f"{run}.sqlite"))
            await denoise(config, tmp_path / run)
            runs.append(list(RunDir(tmp_path / run).load(Decision)))
        sent = "".join(str(wire.body) for wire in server.seen)
    assert {wire.path.rsplit("/", 1)[-1] for wire in server.seen} >= {"completions", "embeddings"}
    assert len(server.seen) > 100
    assert "CANARY" not in sent
    assert "MAGPIE" not in sent
    assert runs[0] == runs[1]
    assert {d.decision for d in runs[0]} >= {"keep", "relabel"}


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
        runs.append(list(RunDir(tmp_path / name).load(Decision)))
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
    clean = np.array([not verdict.noisy for verdict in list(run.load(Verdict))])
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


@pytest.mark.parametrize("method", ["posterior", "paper"])
async def test_a_budget_ends_a_run_whose_result_can_be_used_and_which_goes_on(
    tmp_path: Path, make: MakeConfig, method: str
) -> None:
    data, experts = write_moods(tmp_path / "d.csv", n=90), ["direct", "reasoning"]
    whole = make(data, method=method, experts=experts, ledger=str(tmp_path / "other.sqlite"))
    undisturbed = await denoise(whole, tmp_path / "whole")
    short = make(data, method=method, experts=experts, budget={"calls": 40})
    metrics = await denoise(short, tmp_path / "run")
    assert metrics["calls"]["requests"] == 40
    assert metrics["calls"]["failed"] == metrics["unanswered"]["error"] == 0
    assert metrics["unanswered"]["unasked"] > 0
    assert sum(metrics["decisions"].values()) == 90
    assert metrics["decisions"]["review"] > 0  # of rows that could not be decided
    run = RunDir(tmp_path / "run")
    assert any("budget.calls: 40 are spent" in decision.reason for decision in run.load(Decision))
    # the same command goes on, with as much again, until all is asked: as if nothing had been between
    for _ in range(20):
        metrics = await denoise(short, tmp_path / "run")
        if not metrics["unanswered"]["unasked"]:
            break
    assert metrics["decisions"] == undisturbed["decisions"]
    for name in ("decisions.parquet", "export/train_alpaca.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


async def test_a_cost_can_be_capped_only_by_a_price(make: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs llm\.price"):
        make(write_moods(tmp_path / "d.csv"), budget={"cost": 1})
