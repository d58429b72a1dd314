from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustft.data.hub import HubAddress, hub_rows, resolve
from robustft.errors import DataError

HUB = {
    "luojunyu/RobustFT": {"arc": ["labeled", "test"], "fpb": ["labeled", "test"]},
    "me/one": {"default": ["train", "test"]},
    "me/odd": {"default": ["validation"]},
    "squad": {"plain_text": ["train", "validation"]},
}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://luojunyu/RobustFT/fpb/test", HubAddress("luojunyu/RobustFT", "fpb", "test")),
        ("hf://me/one", HubAddress("me/one", "default", "train")),
        ("hf://me/one/test", HubAddress("me/one", "default", "test")),
        ("hf://me/one/default", HubAddress("me/one", "default", "train")),
        ("hf://me/one/default/test/", HubAddress("me/one", "default", "test")),
        ("hf://me/odd", HubAddress("me/odd", "default", "validation")),
        ("hf://squad", HubAddress("squad", "plain_text", "train")),
        ("hf://squad/validation", HubAddress("squad", "plain_text", "validation")),
        ("hf://squad/plain_text/validation", HubAddress("squad", "plain_text", "validation")),
    ],
)
def test_resolve(address: str, expected: HubAddress) -> None:
    assert resolve(address, lambda name: list(HUB[name]), lambda name, config: HUB[name][config], KeyError) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://luojunyu/RobustFT", "choose a config of luojunyu/RobustFT: arc, fpb"),
        ("hf://luojunyu/RobustFT/test", "choose a config"),
        ("hf://luojunyu/RobustFT/fpb", "choose a split of luojunyu/RobustFT/fpb: labeled, test"),
        ("hf://me/one/default/dev", "choose a split of me/one/default: train, test"),
        ("hf://me/none", "no such dataset"),
        ("hf://", "no such dataset"),
        ("hf://a/b/c/d/e", "no such dataset"),
    ],
)
def test_resolve_lists_the_choices(address: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve(address, lambda name: list(HUB[name]), lambda name, config: HUB[name][config], KeyError)


def test_reads_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "me" / "mine"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"question": "1?", "answer": "A"}\n')
    (folder / "test.jsonl").write_text('{"question": "2?", "answer": "B"}\n{"question": "3?", "answer": null}\n')
    monkeypatch.chdir(tmp_path)  # datasets takes a folder of that name before it asks the hub
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = list(hub_rows("hf://me/mine/test"))
    assert [(row.number, row.values) for row in rows] == [
        (1, {"question": "2?", "answer": "B"}),
        (2, {"question": "3?", "answer": None}),
    ]


def test_offline_is_one_clear_error(tmp_path: Path) -> None:
    code = "from robustft.data.hub import hub_rows; next(hub_rows('hf://luojunyu/RobustFT/fpb/test'))"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("robustft.errors.DataError: hf://luojunyu/RobustFT/fpb/test: can't be loaded from the hub")
    assert "set data.path to their folder" in last
