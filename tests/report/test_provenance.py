from __future__ import annotations

import hashlib
from pathlib import Path

from robustft.pipeline import denoise
from robustft.run import RunDir
from support import MakeConfig, write_moods


async def test_the_same_config_data_seed_and_ledger_give_the_same_bytes(make: MakeConfig, tmp_path: Path) -> None:
    file = write_moods(tmp_path / "d.csv")
    found = []
    for name, concurrency in (("one", 1), ("many", 64)):
        config = make(file, method="posterior", llm={"backend": "scripted", "concurrency": concurrency})
        await denoise(config, tmp_path / name)
        found.append(RunDir(tmp_path / name).read_json("provenance.json"))
    recipes = {"export/llamafactory_lora.yaml", "export/axolotl.yaml", "export/train_trl.py"}  # they name the folder
    one, many = ({name: of["outputs"][name] for name in of["outputs"].keys() - recipes} for of in found)
    assert one == many
    assert set(found[0]["outputs"]) >= {"decisions.parquet", "export/train_alpaca.jsonl", "export/dataset_info.json"}
    for name, digest in found[0]["outputs"].items():
        assert hashlib.sha256((tmp_path / "one" / name).read_bytes()).hexdigest() == digest
    assert found[0]["inputs"] == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}
    assert found[0]["versions"]["robustft"]


async def test_another_seed_is_another_config(make: MakeConfig, tmp_path: Path) -> None:
    file = write_moods(tmp_path / "d.csv")
    for seed in (0, 1):
        await denoise(make(file, seed=seed, method="none"), tmp_path / str(seed))
    first, second = (RunDir(tmp_path / name).read_json("provenance.json") for name in "01")
    assert first["config"] != second["config"]
