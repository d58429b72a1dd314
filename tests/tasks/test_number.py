from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.records import Example, Message
from robustft.tasks.number import NumberTask

TASK = NumberTask()
numbers = st.decimals(min_value=-(10**9), max_value=10**9, allow_nan=False, allow_infinity=False, places=4)


@pytest.mark.parametrize(
    ("response", "value"),
    [
        *(("12.5", "12.5"), ("1,250", "1250"), ("$1.2 million", "1200000"), ("37.5%", "37.5"), ("3/4", "0.75")),
        *(("12.0", "12"), ("-0", "0"), ("007", "7"), (".5", "0.5"), ("Answer: 7", "7"), ("12 apples", "12")),
        *(("5 + 7 = 12\n#### 12", "12"), ("inf", None), ("nan", None), ("", None), ("5-7", None), ("twelve", None)),
    ],
)
def test_label(response: str, value: str | None) -> None:
    assert TASK.label(response) == value


@given(
    numbers,
    st.sampled_from(["{}", "{:,}", "${:,}", "{}%", "{} apples", "EUR {}", "{:e}", "about {}", "**{}**", "\\({}\\)"]),
)
def test_a_written_number_is_read(number: Decimal, form: str) -> None:
    written = form.format(number).replace("$-", "-$")
    value = TASK.extract(f"Answer: {written}.")
    assert value is not None
    assert Decimal(value) == number
    assert TASK.label(value) == value


@given(
    numbers,
    st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["$1,250", "37.5%", "Answer: 12", "5 km", "3/4"])),
)
def test_what_write_writes_label_reads(number: Decimal, like: str | None) -> None:
    value = TASK.label(str(number))
    assert value is not None
    assert TASK.label(TASK.write(value, like)) == value


@given(numbers, numbers, st.floats(0, 0.99))
def test_agree_is_symmetric_and_reflexive(a: Decimal, b: Decimal, tolerance: float) -> None:
    task = NumberTask(tolerance)
    assert task.agree(str(a), str(a))
    assert task.agree(str(a), str(b)) == task.agree(str(b), str(a))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        *(
            ("12", "12.0", True),
            ("1000000", "1000000.5", True),
            ("1000000", "1000002", False),
            ("0", "0.0000001", False),
        ),
        *(
            ("37.5", "0.375", False),
            ("-5", "5", False),
            ("inf", "inf", False),
            ("nan", "nan", False),
            ("x", "x", False),
        ),
    ],
)
def test_agree(a: str, b: str, same: bool) -> None:
    assert TASK.agree(a, b) is same


def test_percent_sign_is_a_unit() -> None:
    row, said = TASK.label("37.5%"), TASK.extract("Answer: 37.5")
    assert row is not None
    assert said is not None
    assert TASK.agree(row, said)


def test_agree_within_tolerance() -> None:
    assert NumberTask(0.01).agree("100", "101")
    assert not NumberTask(0.01).agree("100", "102")


@pytest.mark.parametrize(
    ("value", "like", "written"),
    [
        *(("1300", "$1,250", "$1,300"), ("40", "37.5%", "40%"), ("7", "12 apples", "7 apples"), ("7", None, "7")),
        *(("7", "Answer: 12.", "Answer: 7."), ("7", "The answer is **12**", "The answer is **7**"), ("7", "?", "7")),
        *(("7", "She had 5 and got 7, so 12", "7"), ("-3", "$5", "$-3"), ("7", "", "7")),
    ],
)
def test_write_follows_the_form(value: str, like: str | None, written: str) -> None:
    assert TASK.write(value, like) == written


def test_render_has_no_options() -> None:
    example = Example("1", (Message(role="user", content="How many?"),), "3")
    assert NumberTask(instruction="Count.").render(example) == [{"role": "user", "content": "Count.\n\nHow many?"}]
    assert TASK.options == ()


def test_no_digit_is_lost() -> None:
    long = "-1234567890123456789012345678901234567890.5"
    assert TASK.label(long) == long
    assert NumberTask(0.0).agree(long, long)
    assert not NumberTask(0.0).agree(long, long.replace(".5", ".4"))
    assert TASK.label("1" * 100_000) is None
