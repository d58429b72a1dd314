from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.tasks.short import ShortTask, normalise

TASK = ShortTask()
words = st.sampled_from(
    ["river", "Stone", "the", "12", "1,250", "U.S.", "Brady's", "3.5", "red-brown", "Zoë", "東京", "cloud"]
)
phrases = st.lists(words, min_size=1, max_size=5).map(" ".join).filter(lambda phrase: not phrase.endswith("the"))
accepted = st.lists(phrases, min_size=1, max_size=3, unique=True).map(" | ".join)


@pytest.mark.parametrize(
    ("response", "value"),
    [
        *(
            ("Paris", "Paris"),
            (" the  Seine ", "the Seine"),
            ("Answer: Paris", "Paris"),
            ("Paris | Lutetia", "Paris | Lutetia"),
        ),
        *(
            ("['3' 'three']", "3 | three"),
            ('["a lake", "a lake"]', "a lake"),
            ("array(['x', 'y'], dtype=object)", "x | y"),
        ),
        *(("", None), ("  ", None), ("!?", None), ("[]", None), ("The Who", "The Who"), ("Reads it.\nAnswer: 3", "3")),
    ],
)
def test_label(response: str, value: str | None) -> None:
    assert TASK.label(response) == value


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        *(("The Bears", "bears", True), ("12", "12.0", True), ("1,250", "1250", True), ("$12", "12%", True)),
        *(("10-yard line", "10 yard line.", True), ("’tis", "'tis", True), ("Ｐａｒｉｓ", "paris", True)),
        *(("Lutetia", "Paris | Lutetia", True), ("x | y", "y | z", True), ("a", "a", True)),
        *(("Paris", "Paris Hilton", False), ("12", "112", False), ("twelve", "12", False), ("-5", "5", False)),
        *(
            ("['3', '5']", "3", False),
            ("", "", False),
            ("!", "?", False),
            ("1/4", "14", False),
            ("3:30", "330", False),
            ("red, blue", "blue, red", False),
        ),
    ],
)
def test_agree(a: str, b: str, same: bool) -> None:
    assert TASK.agree(a, b) is same
    assert TASK.agree(b, a) is same


@given(accepted, accepted)
def test_agree_is_symmetric_and_reflexive(a: str, b: str) -> None:
    assert TASK.agree(a, a)
    assert TASK.agree(a, b) == TASK.agree(b, a)


@given(phrases)
def test_normalising_twice_changes_nothing(phrase: str) -> None:
    once = normalise(phrase)
    assert normalise(once) == once


@given(
    phrases, st.sampled_from(["Answer: {}", "**Answer:** {}", "Answer: **{}**", "\\boxed{{{}}}", "<answer>{}</answer>"])
)
def test_a_written_phrase_is_read(phrase: str, form: str) -> None:
    value = TASK.extract(form.format(phrase))
    assert value is not None
    assert TASK.agree(value, phrase)


@given(accepted, st.sampled_from([None, "x", "Answer: x", "**Answer:** x", "Reads.\nAnswer: x", ""]))
def test_what_write_writes_label_reads(phrase: str, like: str | None) -> None:
    value = TASK.label(phrase)
    assert value is not None
    assert TASK.label(TASK.write(value, like)) == value


def test_write_gives_way_to_the_bare_phrase_where_the_form_would_be_misread() -> None:
    longest = " ".join(f"word{n}" for n in range(16))
    assert TASK.write(longest, "Answer: x") == f"Answer: {longest}"
    assert TASK.write(longest, "Answer:\nx") == longest


def test_write_follows_the_form() -> None:
    assert TASK.write("Lyon", "Answer: Paris") == "Answer: Lyon"
    assert TASK.write("Lyon", "Paris") == "Lyon"
    assert TASK.write("Lyon", None) == "Lyon"
