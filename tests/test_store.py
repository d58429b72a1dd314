from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft import store
from robustft.records import OUTCOMES, Answer, Belief, Decision, Example, Message, Relabel, Verdict
from robustft.run import RunDir
from robustft.store import TABLES, Spool, Stored, Taken, at_random, stretches, tables_of, write
from support import stored

Drawn = TypeVar("Drawn")
AnyRecord = Example | Answer | Belief | Verdict | Relabel | Decision

# half of a surrogate pair is no character; the readers turn it away
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
real = st.floats(allow_nan=False)
count = st.integers(0, 2**63 - 1)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)


def maybe(drawn: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn | None]:
    return st.none() | drawn


def several(drawn: st.SearchStrategy[Drawn]) -> st.SearchStrategy[tuple[Drawn, ...]]:
    return st.lists(drawn, max_size=3).map(tuple)


turn = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=text)
KINDS: dict[type[AnyRecord], st.SearchStrategy[AnyRecord]] = {
    Example: st.builds(
        Example, text, several(turn), maybe(text), several(text), maybe(text), st.dictionaries(text, json, max_size=3)
    ),
    Answer: st.builds(
        Answer, text, text, text, maybe(text), maybe(real), maybe(several(real)), maybe(real), text, text, count, count
    ),
    Belief: st.builds(Belief, text, several(text), several(real)),
    Verdict: st.builds(Verdict, text, st.booleans(), real, text),
    Relabel: st.builds(Relabel, text, maybe(text), text, several(text), maybe(real)),
    Decision: st.builds(
        Decision,
        text,
        st.sampled_from(OUTCOMES),
        maybe(text),
        maybe(text),
        real,
        text,
        st.dictionaries(text, maybe(text), max_size=3),
    ),
}


def belief(i: int) -> Belief:
    return Belief(f"r{i}", ("A", "B")[: i % 3], (0.5,) * (i % 3))


def answer(row: str, expert: str) -> Answer:
    return Answer(row, expert, "", None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of three records, two of which are kept decoded."""
    monkeypatch.setattr(store, "GROUP", 3)
    monkeypatch.setattr(store, "_KEPT", 2)


def test_every_kind_has_its_table() -> None:
    assert KINDS.keys() == TABLES.keys()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_stored_is_read_again(kind: type[AnyRecord], data: st.DataObject) -> None:
    records = data.draw(st.lists(KINDS[kind], max_size=4))
    assert list(stored(kind, records)) == records


@pytest.mark.parametrize("kind", KINDS)
def test_no_records_are_a_file_too(tmp_path: Path, kind: type[AnyRecord]) -> None:
    write(tmp_path / "none.parquet", kind, [])
    assert pq.read_schema(tmp_path / "none.parquet") == TABLES[kind][1]
    for found in (Stored(tmp_path / "none.parquet", kind), stored(kind, [])):
        assert (len(found), list(found), list(found[:]), list(found.tables())) == (0, [], [], [])
        with pytest.raises(IndexError):
            found[0]


def test_null_is_not_the_same_as_empty() -> None:
    records = [Answer("a", "", "", None, probs=None), Answer("a", "", "", "", probs=())]
    assert list(stored(Answer, records)) == records


places = st.integers(-14, 14)


@settings(max_examples=60)
@given(n=st.integers(0, 11), start=maybe(places), stop=maybe(places), within=st.tuples(places, places), place=places)
def test_a_place_and_a_stretch_are_those_of_a_list(
    n: int, start: int | None, stop: int | None, within: tuple[int, int], place: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "GROUP", 3)
        patch.setattr(store, "_KEPT", 2)
        plain = [belief(i) for i in range(n)]
        whole = stored(Belief, plain)
        for found, meant in (
            (whole, plain),
            (whole[start:stop], plain[start:stop]),
            (whole[start:stop][slice(*within)], plain[start:stop][slice(*within)]),
        ):
            assert isinstance(found, Stored)
            assert (len(found), list(found), list(reversed(found))) == (len(meant), meant, meant[::-1])
            assert ids_of(list(found.tables())) == [record.id for record in meant]
            if -len(meant) <= place < len(meant):
                assert [found[place]] == list(Taken(found, np.array([place]))) == [meant[place]]
            else:
                with pytest.raises(IndexError):
                    found[place]


def ids_of(tables: Sequence[pa.Table]) -> list[str]:
    return [row for table in tables for row in table["id"].to_pylist()]


@pytest.mark.usefixtures("small")
def test_groups_are_read_in_any_order_and_by_several_at_once() -> None:
    plain = [belief(i) for i in range(20)]
    whole = stored(Belief, plain)
    order = np.random.default_rng(0).permutation(20).tolist()
    assert [whole[place] for place in order] == [plain[place] for place in order]
    at_once = zip(whole, whole[:], stored(Belief, reversed(plain)), whole[::1], strict=True)
    assert list(at_once) == list(zip(plain, plain, plain[::-1], plain, strict=True))


@pytest.mark.usefixtures("small")
def test_no_more_than_a_few_groups_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, read, decoded = stored(Belief, [belief(i) for i in range(20)]), list[str](), store.decoded

    def watched(table: pa.Table, kind: type[Belief]) -> list[Belief]:
        read.append(table["id"][0].as_py())
        return decoded(table, kind)

    monkeypatch.setattr(store, "decoded", watched)
    order = (0, 1, 2, 3, 5, 0, 19, 0, 3)  # the one that was wanted longest ago goes
    assert [whole[i] for i in order] == [belief(i) for i in order]
    assert read[:3] == ["r0", "r3", "r18"]
    assert len(read) == 4


@pytest.mark.parametrize("step", [2, -1])
def test_a_stretch_has_no_step(step: int) -> None:
    with pytest.raises(ValueError, match="`Taken` takes records here and there"):
        stored(Belief, [belief(0)])[::step]


@given(st.lists(st.integers(0, 9), max_size=8), st.slices(8))
def test_taken_is_what_stands_at_the_places(chosen: list[int], part: slice) -> None:
    whole = [f"item {i}" for i in range(10)]
    meant = [whole[place] for place in chosen]
    for found in (Taken(whole, chosen), Taken(whole, np.array(chosen, dtype=np.int64))):
        assert (len(found), list(found), list(found[part])) == (len(meant), meant, meant[part])
        assert [found[i] for i in range(-len(meant), len(meant))] == [*meant, *meant]


def test_taken_copies_nothing() -> None:
    whole = ["a", "b"]
    found = Taken(whole, [1])
    whole[1] = "c"
    assert list(found) == ["c"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n", [0, 1, 3, 4, 7])
def test_a_spool_writes_a_group_when_it_is_full(n: int) -> None:
    records = [belief(i) for i in range(n)]
    found = stored(Belief, records)
    assert list(found) == records
    assert [len(table) for table in found.tables(["id"])] == [3] * (n // 3) + [n % 3] * (n % 3 > 0)


def test_a_spool_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = Spool(Belief, tmp_path)
    spool.add(belief(1))
    found = spool.stored()
    del spool
    assert list(tmp_path.iterdir()) == []
    assert list(found) == [belief(1)]


@pytest.mark.usefixtures("small")
def test_the_parts_are_written_one_after_the_other(tmp_path: Path) -> None:
    before = stored(Answer, [answer(row, "direct") for row in "abcde"])
    parts = [before[1:4], (answer(row, "review") for row in "ab"), [], before[:0]]
    write(tmp_path / "answers.parquet", Answer, parts)
    found = Stored(tmp_path / "answers.parquet", Answer)
    assert [(a.id, a.expert) for a in found] == [*((row, "direct") for row in "bcd"), ("a", "review"), ("b", "review")]


@pytest.mark.usefixtures("small")
def test_stretches_are_where_another_expert_begins() -> None:
    experts = ["direct"] * 7 + ["direct/2"] + ["review"] * 3 + ["direct"] * 2
    said = [answer(f"r{i}", expert) for i, expert in enumerate(experts)]
    assert [list(part) for part in stretches(stored(Answer, said))] == [said[:7], said[7:8], said[8:11], said[11:]]
    assert stretches(stored(Answer, [])) == []


@pytest.mark.usefixtures("small")
def test_stretches_of_a_stretch_are_places_in_it() -> None:
    said = [answer(f"r{i}", expert) for i, expert in enumerate(["direct"] * 5 + ["review"] * 5)]
    assert [list(part) for part in stretches(stored(Answer, said)[2:8])] == [said[2:5], said[5:8]]


def test_what_was_opened_is_read_though_the_file_is_replaced(tmp_path: Path, small: None) -> None:
    run = RunDir(tmp_path)
    before = run.save(Belief, [belief(i) for i in range(10)])
    after = run.save(Belief, before[5:], before[:5])
    run.save(Belief, [])
    assert list(before) == [belief(i) for i in range(10)]
    assert [record.id for record in after] == [f"r{i}" for i in (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)]
    assert list(run.load(Belief)) == []


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(data=st.data())
def test_columns_are_the_same_of_a_list_and_of_a_file(kind: type[AnyRecord], data: st.DataObject) -> None:
    records = data.draw(st.lists(KINDS[kind], min_size=1, max_size=4))
    schema = TABLES[kind][1]
    names = data.draw(st.lists(st.sampled_from(schema.names), min_size=1, unique=True))
    of_list, of_file = (pa.concat_tables(tables_of(rows, kind, names)) for rows in (records, stored(kind, records)))
    assert of_list.column_names == names
    assert of_list.equals(of_file)


@pytest.mark.usefixtures("small")
def test_many_records_are_read_in_any_order_without_decoding_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = stored(Belief, [belief(i) for i in range(6)]), stored(Belief, [belief(i) for i in range(20)])
    assert at_random(few) is few
    shelf, sizes, decoded = at_random(many), list[int](), store.decoded

    def watched(table: pa.Table, kind: type[Belief]) -> list[Belief]:
        sizes.append(len(table))
        return decoded(table, kind)

    monkeypatch.setattr(store, "decoded", watched)
    assert len(shelf) == 20
    assert [shelf[i] for i in (19, 0, 7, -1)] == [belief(i) for i in (19, 0, 7, 19)]
    assert sizes == [1, 1, 1, 1]
    assert list(shelf[3:5]) == [belief(3), belief(4)]
    with pytest.raises(IndexError):
        shelf[20]
