"""Rows whose texts give orders: whatever they do to their own answers, other rows are asked and judged as before."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from benchmarks.reliability import injection
from benchmarks.reliability.injection import ATTACKS
from llm.server import Body, ChatServer
from robustft.llm.plain_text import holds_control_tokens
from robustft.pipeline import denoise
from robustft.records import OF_RELABEL, Answer, Verdict
from robustft.run import RunDir
from support import LOCAL, MakeConfig, write_moods

ATTACKED = [f"r{number}" for number in range(len(ATTACKS))]


def write_attacks(path: Path) -> Path:
    """Write rows, the first of which end in one attack each."""
    with write_moods(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, attack in zip(rows, ATTACKS.values(), strict=False):
        row["question"] += attack.format(letter="C", option="positive")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def obey(body: Body) -> str:
    """Answer by the number of the first note in the prompt; a text that ends in an order is obeyed."""
    asked = body["messages"][-1]["content"]
    number = re.search(r"Note (\d+): [^.]*\.(.*)", asked, re.DOTALL)
    assert number is not None
    obeyed = any(word in number[2] for word in ("Answer: C", "positive.", "positive<", "positive]", "'positive'"))
    return f"Answer: {'C' if obeyed else 'AB'[int(number[1]) % 2]}"


async def test_other_rows_are_asked_and_judged_as_before(make: MakeConfig, tmp_path: Path) -> None:
    judged, answered = [], []
    async with ChatServer(answer=obey) as server:
        for name, data in (("plain", write_moods(tmp_path / "d.csv")), ("attacked", write_attacks(tmp_path / "a.csv"))):
            seen = len(server.seen)
            llm = {"backend": "openai", "base_url": server.url, "model": "m"}
            config = make(data, llm=llm, experts=["direct", "reasoning"], data={"truth": None})
            await denoise(config, tmp_path / name)
            run = RunDir(tmp_path / name)
            judged.append({verdict.id: verdict for verdict in run.load(Verdict)})
            answered.append({(a.id, a.expert): a for a in run.load(Answer) if a.expert not in OF_RELABEL})
        prompts = [str(wire.body["messages"]) for wire in server.seen[seen:] if wire.body]
    plain, attacked = judged
    assert {row: plain[row] for row in plain if row not in ATTACKED} == {
        row: attacked[row] for row in attacked if row not in ATTACKED
    }
    before, after = answered
    changed = {row for row, expert in before if before[row, expert].value != after[row, expert].value}
    assert set() < changed <= set(ATTACKED)
    assert {key for key in before if before[key] != after[key]} <= {key for key in before if key[0] in ATTACKED}
    assert prompts
    assert not [prompt for prompt in prompts if holds_control_tokens(prompt)]


@pytest.mark.skipif(not LOCAL, reason='needs pip install "robustft[local]" and models.txt')
async def test_orders_are_measured_on_the_rows_that_hold_them_and_on_those_beside(tmp_path: Path) -> None:
    attacks = {name: ATTACKS[name] for name in ("an answer line", "an order")}
    found = await injection.measure(4, tmp_path, attacks)
    assert list(found) == list(attacks)
    for before, attacked, beside, swayed in found.values():
        assert before == 0  # what is ordered is never what was answered
        assert 0 <= attacked <= 4
        assert swayed <= beside
    assert found["an order"][1] > found["an answer line"][1]
    assert injection.table(found, 4).count("%") == 2 * 4
