"""A disk that is full, or may not be written: a line that says so, nothing half-written, and on it goes with room."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robustft.errors import StorageError
from robustft.run import RunDir
from support import write_moods

ALONE = ["unshare", "--map-root-user", "--mount"]


def config_file(folder: Path, rows: int, ledger: str = "l.sqlite") -> Path:
    write_moods(folder / "d.csv", n=rows)
    tree = {"data": {"path": "d.csv", "truth": "truth"}, "llm": {"backend": "scripted"}, "method": "paper"}
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(tree | {"embedder": "tfidf", "ledger": ledger}), encoding="utf-8")
    return path


def in_a_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount; skips the test where nobody may."""
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    return subprocess.run([*ALONE, "sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("size", "ledger"),
    [("16k", "l.sqlite"), ("64k", "l.sqlite"), ("160k", "l.sqlite"), ("320k", "l.sqlite"), ("320k", "disk/l.sqlite")],
)
def test_a_full_disk_is_said_and_the_run_goes_on_with_room(tmp_path: Path, size: str, ledger: str) -> None:
    config, disk, whole = config_file(tmp_path, 1500, ledger), tmp_path / "disk", tmp_path / "whole"
    disk.mkdir()
    run = f"{shlex.quote(sys.executable)} -m robustft denoise {shlex.quote(str(config))} -o"
    done = in_a_namespace(
        f"mount -t tmpfs -o size={size} tmpfs {disk} && {run} {disk}/run; echo first $? >&2;"
        f"mount -o remount,size=64m {disk} && {run} {disk}/run; echo second $? >&2;"
        f"{run} {whole}; cmp {disk}/run/decisions.parquet {whole}/decisions.parquet; echo same $? >&2"
    )
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert "first 1" in lines
    (said,) = [line for line in lines if line.startswith("robustft: ")]
    assert "No space left on device" in said or "full" in said, said
    assert {"second 0", "same 0"} <= set(lines), done.stderr


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    config, disk = config_file(tmp_path, 60), tmp_path / "disk"
    (disk / "run").mkdir(parents=True)
    run = f"{shlex.quote(sys.executable)} -m robustft run {shlex.quote(str(config))} -o"
    done = in_a_namespace(f"mount -t tmpfs -o ro tmpfs {disk} && {run} {disk}/run; echo first $? >&2")
    assert "Traceback" not in done.stderr
    assert "first 2" in done.stderr.splitlines()
    assert f"{disk}/run: can't write there" in done.stderr


def test_a_table_that_was_cut_short_is_not_taken_for_whole(tmp_path: Path) -> None:
    """What is written has another name until it is whole."""
    run = RunDir.create(tmp_path / "run")
    run.write("a.json", b"whole")
    with pytest.raises(OSError, match="No space"):
        run_out_of_room(run)
    assert (run.path / "a.json").read_bytes() == b"whole"
    assert [path.name for path in run.path.iterdir()] == ["a.json"]


def run_out_of_room(run: RunDir) -> None:
    from robustft.run import write_atomically

    def write(path: Path) -> None:
        path.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    write_atomically(run.path / "a.json", write)


def test_only_room_and_permission_are_the_users_to_mend() -> None:
    assert "x: No space" in str(StorageError.of(OSError(errno.ENOSPC, "", "x"), "y"))
    assert "y: Read-only" in str(StorageError.of(OSError(errno.EROFS, ""), "y"))
    assert StorageError.of(OSError(errno.EBADF, ""), "y") is None
