from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import Config
from robustft.errors import ConfigError, DataError
from robustft.llm.ledger import Ledger
from robustft.pipeline import denoise
from robustft.plan.pilot import draw, pilot
from robustft.plan.plan import Speed, plan
from robustft.records import Example
from support import MakeConfig, write_moods


def examples(count: int) -> list[Example]:
    return [Example(str(number), (), None) for number in range(count)]


@given(count=st.integers(0, 60), wanted=st.integers(1, 70), seed=st.integers(0, 9))
def test_rows_are_drawn_without_replacement_in_their_order(count: int, wanted: int, seed: int) -> None:
    drawn, total = draw(iter(examples(count)), wanted, seed)
    ids = [int(example.id) for example in drawn]
    assert total == count
    assert len(ids) == len(set(ids)) == min(count, wanted)
    assert ids == sorted(ids)
    assert draw(iter(examples(count)), wanted, seed)[0] == drawn


def test_every_row_is_as_likely_to_be_drawn() -> None:
    counts = [0] * 20
    for seed in range(2000):
        for example in draw(examples(20), 5, seed)[0]:
            counts[int(example.id)] += 1
    assert min(counts) > 400  # 500 expected, with a deviation of 19
    assert max(counts) < 600


def adaptive(make: MakeConfig, tmp_path: Path, **sections: Any) -> Config:
    experts = ["direct", "reasoning", "context"]
    return make(write_moods(tmp_path / "d.csv", n=120), method="posterior", experts=experts, **sections)


async def test_a_pilot_of_all_rows_tells_what_the_run_does(make: MakeConfig, tmp_path: Path) -> None:
    config = adaptive(make, tmp_path)
    planned = plan(await pilot(config, rows=500), config)
    metrics = await denoise(config, tmp_path / "run")
    assert (planned["rows"], planned["pilot"]) == (120, 120)
    assert planned["total"]["calls"]["expected"] == pytest.approx(metrics["calls"]["cached"])
    assert planned["total"]["calls"]["most"] >= planned["total"]["calls"]["high"]
    assert metrics["calls"]["requests"] == 0  # the run finds what the pilot has asked
    assert planned["total"]["prompt_tokens"]["expected"] > 0


async def test_a_pilot_of_some_rows_asks_about_no_others(make: MakeConfig, tmp_path: Path) -> None:
    config = adaptive(make, tmp_path)
    found = await pilot(config, rows=30)
    planned = plan(found, config, rows=10**6)
    assert config.ledger is not None
    ledger = Ledger(config.ledger)
    assert 30 <= len(ledger) <= 90
    ledger.close()
    stage = planned["stages"]["detect"]["calls"]
    assert 1e6 <= stage["low"] <= stage["expected"] <= stage["high"] <= stage["most"] == pytest.approx(2e6)
    again = plan(await pilot(config, rows=30), config, rows=10**6)
    assert again["stages"]["detect"]["calls"] == stage
    # the ledger has answered: nothing is known of the speed, and no price was given
    assert again["total"]["seconds"]["expected"] is None
    assert again["total"]["money"]["expected"] is None


async def test_speed_and_prices_that_are_said_count(make: MakeConfig, tmp_path: Path) -> None:
    config = adaptive(make, tmp_path, llm={"price": {"prompt": 1.0, "completion": 2.0}})
    found = await pilot(config, rows=20)
    slow, fast = (plan(found, config, speed=Speed(100.0, 10.0, servers)) for servers in (1, 4))
    for stage in ("detect", "relabel"):
        one, four = (planned["stages"][stage]["seconds"]["expected"] for planned in (slow, fast))
        assert one == pytest.approx(4 * four)
    total = slow["total"]
    tokens = total["prompt_tokens"]["expected"], total["completion_tokens"]["expected"]
    assert total["money"]["expected"] == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)


async def test_what_cannot_be_planned(make: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("question,answer,options,truth\n")
    with pytest.raises((DataError, ConfigError), match=r"empty\.csv"):
        await pilot(make(tmp_path / "empty.csv"))
    file = write_moods(tmp_path / "d.csv", n=4)
    with pytest.raises(ConfigError, match=r"data\.truth_path"):
        await pilot(make(file, data={"truth": None, "truth_path": str(file)}))
