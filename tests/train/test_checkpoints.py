from __future__ import annotations

from pathlib import Path

from robustft.train.checkpoints import STATE, keep_only, newest


def save(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if state is not None:
        (path / STATE).write_text(state)
    return path


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    save(tmp_path, 9, "{}")
    ten = save(tmp_path, 10, '{"global_step": 10}')
    save(tmp_path, 11, '{"global_st')  # killed in the middle
    save(tmp_path, 12, None)
    save(tmp_path, 1, "{}")
    (tmp_path / "checkpoint-x").mkdir()
    assert newest(tmp_path) == ten


def test_checkpoints_of_other_runs_go(tmp_path: Path) -> None:
    for key in ("mine", "other"):
        save(tmp_path / "checkpoints" / key, 1, "{}")
    keep_only(tmp_path / "checkpoints" / "mine")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["mine"]
    assert newest(tmp_path / "checkpoints" / "mine") is not None
    keep_only(tmp_path / "checkpoints" / "third")
    assert newest(tmp_path / "checkpoints" / "third") is None
