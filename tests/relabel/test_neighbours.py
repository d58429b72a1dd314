from __future__ import annotations

import pytest

from robustft.records import Example, Message
from robustft.relabel import neighbours
from robustft.relabel.neighbours import clean_neighbours, ids_shown
from support import Angles


def rows(*texts: str) -> list[Example]:
    return [Example(f"r{n}", (Message(role="user", content=text),), None) for n, text in enumerate(texts)]


async def open_angles() -> Angles:
    return Angles()


async def test_neighbours_are_clean_rows_nearest_first_and_never_the_row_itself() -> None:
    examples = rows("at 0", "at 20", "at 40", "at 90", "AT  0")
    found = await clean_neighbours(examples, [0, 2], [0, 1, 3, 4], 2, open_angles)
    # row 4 asks what row 0 asks
    assert found == [[1, 3], [1, 0]]
    assert ids_shown(examples, [0, 2], found) == {"r0": ("r1", "r3"), "r2": ("r1", "r0")}


async def test_without_clean_rows_there_are_none() -> None:
    assert await clean_neighbours(rows("at 0", "at 20"), [0, 1], [], 2, open_angles) == [[], []]


@pytest.mark.parametrize("there", [True, False])
async def test_large_pools_say_how_they_were_searched(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if there:
        pytest.importorskip("faiss")
    else:
        monkeypatch.setattr(neighbours, "find_spec", lambda name: None)
    monkeypatch.setattr(neighbours, "EXACT", 50)
    examples = rows(*(f"at {number / 3}" for number in range(400)))
    said: list[str] = []
    found = await clean_neighbours(examples, [0], range(400), 3, open_angles, said.append)
    assert len(found[0]) == 3
    assert said == [
        "neighbours among 400 clean rows come from an index that finds 100.0% of the nearest"
        if there
        else "each of 400 clean rows is looked at for neighbours; pip install 'robustft[scale]' for an index"
    ]
