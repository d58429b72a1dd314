from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.desks import desk_of, reviewed_run
from robustft.config import TaskConfig
from robustft.errors import DataError
from robustft.pipeline import denoise
from robustft.records import Decision, Example, Message
from robustft.review.verdicts import PersonVerdict, PersonVerdicts, content_of, decided
from robustft.run import RunDir
from robustft.tasks import make_task
from support import MakeConfig

TASK = make_task(TaskConfig(kind="choice"))
VALUES = st.sampled_from(["A", "B", None])


def example(name: str = "a", text: str = "Which?", response: str | None = "A") -> Example:
    return Example(name, (Message(role="user", content=text),), response, ("no", "yes"))


def verdict(of: Example, value: str | None, drawn: str = "chosen") -> PersonVerdict:
    return PersonVerdict(content_of(of), of.id, value, drawn)  # type: ignore[arg-type]


def test_content_is_what_is_asked_whatever_the_id_and_the_given_response() -> None:
    assert content_of(example()) == content_of(example("b", response="B")) == content_of(example(response=None))
    assert content_of(example()) != content_of(example(text="Which one?"))
    assert content_of(example()) != content_of(replace(example(), options=("yes", "no")))


def test_the_last_word_counts_and_can_be_taken_back(tmp_path: Path) -> None:
    said = PersonVerdicts(tmp_path / "v.jsonl")
    said.say(verdict(example(), "A"))
    said.say(verdict(example(), None))
    for read in (said, PersonVerdicts(said.path)):
        found = read.of(example())
        assert found is not None
        assert found.value is None
        assert found.time
    said.take_back(content_of(example()))
    said = PersonVerdicts(said.path)
    found = said.of(example())
    assert found is not None
    assert found.value == "A"
    said.take_back(content_of(example()))
    assert PersonVerdicts(said.path).of(example()) is None
    said.take_back(content_of(example()))  # nothing is left: no trouble
    assert len(PersonVerdicts(said.path)) == 0


def test_a_line_that_was_cut_off_is_forgotten_and_a_foreign_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    PersonVerdicts(path).say(verdict(example(), "A"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    said = PersonVerdicts(path)
    assert len(said) == 1
    said.say(verdict(example("b", "Who?"), "B"))
    assert len(PersonVerdicts(path)) == 2
    path.write_bytes(whole + b'{"label": 1}\n')
    with pytest.raises(DataError, match="row 2: is no verdict"):
        PersonVerdicts(path)


def test_a_verdict_survives_the_death_of_the_process(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from robustft.review.verdicts import *; "
        f"PersonVerdicts(Path({str(tmp_path / 'v.jsonl')!r})).say(PersonVerdict('c', 'r', 'A', 'chosen')); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert len(PersonVerdicts(tmp_path / "v.jsonl")) == 1


@given(VALUES, VALUES, st.sampled_from(["keep", "drop", "review"]))
def test_a_persons_word_decides_the_row(given_: str | None, value: str | None, before: str) -> None:
    row = example(response=given_)
    decision = Decision("a", before, given_, "B", 0.4, "why", {"direct": "B"})  # type: ignore[arg-type]
    said = PersonVerdicts(Path("/nowhere/v.jsonl"))
    said._said = {content_of(row): verdict(row, value)}
    (found,) = decided([row], [decision], said, TASK)
    assert found.decision == ("drop" if value is None else "keep" if value == given_ else "relabel")
    assert found.votes == decision.votes
    if value is not None:
        assert found.response_final == value
    said._said = {}
    assert list(decided([row], [decision], said, TASK)) == [decision]


async def test_a_run_takes_verdicts_into_account_and_asks_nothing_again(tmp_path: Path, make: MakeConfig) -> None:
    run, config = await reviewed_run(tmp_path, make)
    before = {d.id: d for d in run.load(Decision)}
    desk = desk_of(run, config, decisions=frozenset({"review"}))
    rows = [desk.examples[place] for place in desk.places[:3]]
    truths = {row.id: row.truth for row in rows}
    for position, row in enumerate(rows[:2]):
        desk.say(position, "answer", row.truth)
    desk.say(2, "drop")
    metrics = await denoise(config, run.path)
    after = {d.id: d for d in run.load(Decision)}
    for row in rows[:2]:
        assert after[row.id].decision in {"keep", "relabel"}
        assert after[row.id].response_final == truths[row.id]
    assert after[rows[2].id].decision == "drop"
    assert {row: d for row, d in after.items() if row not in truths} == {
        row: d for row, d in before.items() if row not in truths
    }
    assert metrics["calls"]["requests"] == run.read_json("stages.json")["detect"]["calls"]["requests"]
    # a new run of the same rows under other ids and in another order finds them in the file that the config names
    lines = (tmp_path / "d.csv").read_text().splitlines()
    other = [lines[0], *(f"new-{line}" for line in reversed(lines[1:]))]
    (tmp_path / "e.csv").write_text("\n".join(other) + "\n")
    review = {"file": str(run.path / "review.jsonl")}
    again = config.model_copy(
        update={
            "data": config.data.model_copy(update={"path": str(tmp_path / "e.csv")}),
            "review": config.review.model_copy(update={"file": Path(review["file"])}),
        }
    )
    await denoise(again, tmp_path / "again")
    found = {d.id: d for d in RunDir(tmp_path / "again").load(Decision)}
    assert found[f"new-{rows[0].id}"].response_final == truths[rows[0].id]
    assert "a person" in found[f"new-{rows[2].id}"].reason


async def test_rows_drawn_by_lot_teach_the_posterior_and_chosen_ones_do_not(tmp_path: Path, make: MakeConfig) -> None:
    run, config = await reviewed_run(tmp_path, make)
    chosen, lot = desk_of(run, config, decisions=frozenset({"review"})), desk_of(run, config, random=5)
    chosen.say(0, "drop")
    chosen.say(1, "keep")
    assert lot.verdicts.known(lot.examples, lot.task) == {}
    lot = desk_of(run, config, random=5)
    for position in range(5):
        lot.say(position, "answer", lot.examples[lot.places[position]].truth)
    known = lot.verdicts.known(lot.examples, lot.task)
    assert known == {lot.examples[place].id: lot.examples[place].truth for place in lot.places}
    await denoise(config, run.path)
    reasons = {d.id: d.reason for d in run.load(Decision)}
    assert all("a person" in reasons[row] for row in known)
