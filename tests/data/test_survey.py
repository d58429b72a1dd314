from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.drawn import row_of, train_rows
from robustft.config import ExportConfig
from robustft.data.survey import NOTHING, Survey, Traits, survey
from robustft.data.train_rows import TrainRow
from robustft.errors import DataError

PLAIN = ExportConfig(formats=("prompt-completion",))


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(train_rows(), max_size=6), cut=st.integers(0, 6))
def test_a_survey_of_all_rows_is_the_sum_of_those_of_its_stretches(rows: list[TrainRow], cut: int) -> None:
    whole, parts = survey(rows, PLAIN), survey(rows[:cut], PLAIN) + survey(rows[cut:], PLAIN)
    assert (whole.rows, whole.pairs) == (parts.rows, parts.pairs)
    assert whole.types.keys() == parts.types.keys()
    # what is mixed in a part is so in the whole
    assert survey(rows[:cut], PLAIN).mixed <= parts.mixed


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(train_rows(), max_size=4))
def test_it_comes_out_as_it_was_packed(rows: list[TrainRow]) -> None:
    found = survey(rows, PLAIN)
    assert Survey.unpacked(found.packed()) == found


def test_columns_of_several_types_are_told_across_stretches() -> None:
    found = survey([row_of(a=1, b=1, c=[1])], PLAIN) + survey([row_of(a="x", b=0.5, d=None)], PLAIN)
    assert found.mixed == {"a"}
    assert found.types["b"] == pa.float64()
    assert found.types["c"] == pa.list_(pa.int64())
    assert (found + survey([row_of(a=1)], PLAIN)).mixed == {"a"}
    assert NOTHING + found == found


def test_traits() -> None:
    rows = [row_of(prompt="Why?", completion="so"), row_of(rejected="no", prompt="Why?", completion="so")]
    found = survey(rows, PLAIN)
    assert (found.rows, found.pairs) == (Traits(2, plain=True), Traits(1, plain=True))
    assert not survey([*rows, row_of()], PLAIN).rows.plain
    assert not survey(rows, ExportConfig(formats=("messages",))).rows.plain


def test_a_row_that_no_format_holds_is_named() -> None:
    with pytest.raises(DataError, match="row '7' can't be exported: its response is empty"):
        survey([row_of("1"), row_of("7", " ")], PLAIN)
