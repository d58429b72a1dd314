from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustft.config import Config
from robustft.errors import ConfigError, RobustFTError
from robustft.records import Answer, Decision, Example, Message, Relabel, Verdict
from robustft.run import RunDir, fingerprint, write_atomically

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SHARE = st.floats(0, 1)
JSON = st.dictionaries(TEXT, st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXT), max_size=3)
MESSAGES = st.lists(st.builds(Message, role=TEXT, content=TEXT), max_size=3).map(tuple)
TEXTS = st.lists(TEXT, max_size=4).map(tuple)
EXAMPLES = st.builds(Example, TEXT, MESSAGES, st.none() | TEXT, TEXTS, st.none() | TEXT, JSON)
ANSWERS = st.builds(
    Answer, TEXT, TEXT, TEXT, st.none() | TEXT, st.none() | SHARE, st.none() | st.lists(SHARE, max_size=3).map(tuple)
)
VERDICTS = st.builds(Verdict, TEXT, st.booleans(), SHARE, TEXT)
RELABELS = st.builds(Relabel, TEXT, st.none() | TEXT, TEXT, TEXTS, st.none() | SHARE)
DECISIONS = st.builds(
    Decision,
    TEXT,
    st.sampled_from(["keep", "relabel", "drop", "review"]),
    st.none() | TEXT,
    st.none() | TEXT,
    SHARE,
    TEXT,
    st.dictionaries(TEXT, st.none() | TEXT, max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    st.lists(EXAMPLES, max_size=3),
    st.lists(ANSWERS, max_size=3),
    st.lists(VERDICTS, max_size=3),
    st.lists(RELABELS, max_size=3),
    st.lists(DECISIONS, max_size=3),
)
def test_records_come_back_as_they_were_saved(
    tmp_path: Path,
    examples: list[Example],
    answers: list[Answer],
    verdicts: list[Verdict],
    relabels: list[Relabel],
    decisions: list[Decision],
) -> None:
    run = RunDir(tmp_path)
    run.save(Example, examples)
    run.save(Answer, answers)
    run.save(Verdict, verdicts)
    run.save(Relabel, relabels)
    run.save(Decision, decisions)
    assert list(run.load(Example)) == examples
    assert list(run.load(Answer)) == answers
    assert list(run.load(Verdict)) == verdicts
    assert list(run.load(Relabel)) == relabels
    assert list(run.load(Decision)) == decisions


def test_a_stage_is_finished_only_under_its_own_key(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run")
    assert not run.finished("read", "a")
    run.finish("read", "a", wall_s=1.0)
    assert run.finished("read", "a")
    assert not run.finished("read", "b")
    run.finish("read", None)
    assert not run.finished("read", "a")


def test_the_config_comes_back(tmp_path: Path) -> None:
    config = Config.model_validate({"seed": 7, "task": "fpb", "export": ["sharegpt"], "ledger": "x.sqlite"})
    run = RunDir.create(tmp_path)
    run.keep(config)
    assert run.config() == config
    assert RunDir.existing(tmp_path).config() == config


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run directory"):
        RunDir.existing(tmp_path)
    with pytest.raises(RobustFTError, match=r"decisions\.parquet: not there yet"):
        list(RunDir(tmp_path).load(Decision))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't write there"):
        RunDir.create(tmp_path / "file")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "old"


def test_a_fingerprint_depends_on_values_only() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_folder_is_held_against_another_process_and_let_go(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run")
    code = """
import sys, time
from pathlib import Path
from robustft.run import RunDir
with RunDir(Path(sys.argv[1])).alone():
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another robustft is at work there"), run.alone():
            pass
        other.kill()
    with run.alone():  # the lock went with the process
        pass
    with run.alone():
        pass


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from robustft.run import write_atomically
def write(path):
    path.write_text("half")
    os._exit(9)
write_atomically(Path(sys.argv[1]), write)
"""
    target = tmp_path / "export/train.jsonl"
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == 9
    (left,) = target.parent.iterdir()
    (tmp_path / ".hidden").write_text("somebody's")
    with RunDir(tmp_path).alone():
        assert not left.exists()
    assert (tmp_path / ".hidden").exists()
