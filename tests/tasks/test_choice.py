from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.records import Example, Message
from robustft.tasks.choice import ChoiceTask, letters
from robustft.tasks.task import READINGS, Reading

DATA = Path(__file__).parents[3] / "shared" / "data"
FPB = ("negative", "neutral", "positive")
TASK = ChoiceTask()

words = st.sampled_from(["river", "stone", "cloud", "amber", "fern", "copper", "maple", "ridge", "otter", "lantern"])
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)
options = st.lists(phrases, min_size=2, max_size=30, unique=True).map(tuple)
odd_options = st.lists(
    st.text(alphabet="ABCabc012. -()", min_size=1, max_size=4).filter(str.strip), min_size=2, max_size=8, unique=True
).map(tuple)


@st.composite
def option_of(draw: st.DrawFn) -> tuple[tuple[str, ...], str]:
    texts = draw(options)
    return texts, draw(st.sampled_from(letters(len(texts))))


def test_letters_count_as_spreadsheet_columns() -> None:
    assert letters(4) == ("A", "B", "C", "D")
    assert letters(703)[25:28] == ("Z", "AA", "AB")
    assert letters(703)[-1] == "AAA"


@pytest.mark.parametrize(
    ("response", "value"),
    [
        *(("B", "B"), (" B\n", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("**B**", "B"), ("Ｂ", "B")),
        *(("neutral", "B"), ("Neutral.", "B"), ("0", "A"), ("2", "C"), ("Answer: B", "B"), ("B) neutral", "B")),
        *(("3", None), ("D", None), ("", None), ("neutral or positive", None), ("maybe", None), ("-1", None)),
        ("It rose, so the sentiment is up.\nAnswer: C", "C"),
    ],
)
def test_label(response: str, value: str | None) -> None:
    assert TASK.label(response, FPB) == value


def test_label_prefers_letter_then_text_then_index() -> None:
    # an ARC row has these options, and names them by letter
    assert TASK.label("C", ("C", "NO_{2}", "O_{2}", "CO")) == "C"
    assert TASK.label("CO", ("C", "NO_{2}", "O_{2}", "CO")) == "D"
    assert TASK.label("2", ("1", "2", "4", "8")) == "B"
    assert TASK.label("rr", ("R", "rr", "Rr", "RR")) == "B"
    assert TASK.label("same", ("same", "Same")) == "A"
    assert TASK.label("SAME", ("same", "Same")) is None


def test_options_of_the_task_serve_rows_without() -> None:
    assert ChoiceTask(FPB).label("positive") == "C"
    assert ChoiceTask(FPB).label("yes", ("no", "yes")) == "B"
    assert ChoiceTask().label("K") == "K"


@given(option_of(), st.sampled_from(["Answer: {}", "**{}**", "({})", "{}.", "The answer is {}.", "\\boxed{{{}}}"]))
def test_a_written_letter_or_text_is_read(row: tuple[tuple[str, ...], str], form: str) -> None:
    texts, value = row
    for said in (value, texts[letters(len(texts)).index(value)]):
        assert TASK.extract(form.format(said), texts) == value


@given(option_of())
def test_permuting_options_permutes_letters(row: tuple[tuple[str, ...], str]) -> None:
    texts, value = row
    text = texts[letters(len(texts)).index(value)]
    order = sorted(texts)
    assert TASK.extract(f"The answer is {text}.", order) == letters(len(order))[order.index(text)]
    assert TASK.label(text, order) == letters(len(order))[order.index(text)]


@given(st.one_of(options, odd_options), st.data(), st.one_of(st.none(), st.text(max_size=20)))
def test_what_write_writes_label_reads(texts: tuple[str, ...], data: st.DataObject, like: str | None) -> None:
    value = data.draw(st.sampled_from(letters(len(texts))))
    given_form = data.draw(
        st.sampled_from([like, value, value.lower(), "(A)", "1", texts[0], f"Answer: {texts[0]}", "A) x"])
    )
    assert TASK.label(TASK.write(value, given_form, texts), texts) == value
    assert TASK.label(TASK.write("C", given_form)) == "C"


@given(option_of(), option_of())
def test_agree_is_an_equality(a: tuple[tuple[str, ...], str], b: tuple[tuple[str, ...], str]) -> None:
    assert TASK.agree(a[1], a[1])
    assert TASK.agree(a[1], b[1]) == TASK.agree(b[1], a[1]) == (a[1] == b[1])


@given(options, st.text(max_size=80))
def test_nothing_off_the_list_is_read(texts: tuple[str, ...], text: str) -> None:
    for said in (TASK.extract(text, texts), TASK.extract(f"Answer: {text}", texts), TASK.label(text, texts)):
        assert said is None or said in letters(len(texts))


@pytest.mark.parametrize(
    ("like", "written"),
    [
        *((None, "C"), ("A", "C"), ("a", "c"), ("(A)", "(C)"), ("A.", "C."), ("0", "2"), ("neutral", "positive")),
        *(("Answer: A", "Answer: C"), ("Answer: (a)", "Answer: (c)"), ("Answer: neutral.", "Answer: positive.")),
        *(("B) neutral", "C) positive"), ("The answer is **B**.", "The answer is **C**."), ("", "C"), ("?", "C")),
        *(("The answer is B because nothing changed.", "C"), ("Sales were flat, so the answer is B.", "C")),
    ],
)
def test_write_follows_the_form(like: str | None, written: str) -> None:
    assert TASK.write("C", like, FPB) == written


def test_write_without_known_options() -> None:
    assert TASK.write("C", "Answer: B") == "Answer: C"
    assert TASK.write("C", "b.") == "c."
    assert TASK.write("C", "1") == "2"


def test_write_gives_way_to_the_letter_where_the_form_would_be_misread() -> None:
    assert TASK.write("A", "CO", ("C", "NO_{2}", "O_{2}", "CO")) == "A"
    assert TASK.write("A", "other", ("same", "same", "other")) == "A"


def test_render_puts_instruction_question_and_options() -> None:
    example = Example("1", (Message(role="system", content="Be brief."), Message(role="user", content="Up?")), "A", FPB)
    assert ChoiceTask(instruction="Judge.").render(example) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Judge.\n\nUp?\n\nA. negative\nB. neutral\nC. positive"},
    ]
    assert TASK.render(Example("1", (), None, FPB))[-1]["content"] == "A. negative\nB. neutral\nC. positive"


@given(texts=options | odd_options, name=st.sampled_from(letters(26)), reading=st.sampled_from(READINGS))
def test_the_usual_answer_is_read_by_the_same_rules_as_others(
    texts: tuple[str, ...], name: str, reading: Reading
) -> None:
    usual = f"Answer: {name}"
    assert TASK.locate(usual, texts, reading) == TASK.locate(f"{usual}\n", texts, reading)
    assert TASK.locate(usual, (), reading) == TASK.locate(f"{usual}\n", (), reading)


def test_render_leaves_options_out_on_request() -> None:
    example = Example("1", (Message(role="user", content="Up?"),), None, FPB)
    assert ChoiceTask(instruction="Judge.").render(example, listed=False)[-1]["content"] == "Judge.\n\nUp?"
    assert ChoiceTask(FPB).render(example, listed=False)[-1]["content"] == "Up?"


def test_render_lists_options_once() -> None:
    listed = Message(role="user", content="Up?\n(A) no\nB: yes")
    assert TASK.render(Example("1", (listed,), None, ("no", "yes"))) == [listed]
    some = Message(role="user", content="Up?\n(A) no\nor not?")
    assert TASK.render(Example("1", (some,), None, ("no", "yes")))[0]["content"].endswith("\n\nA. no\nB. yes")
    unnamed = Message(role="user", content="Up?\nno\nyes")
    assert TASK.render(Example("1", (unnamed,), None, ("no", "yes")))[0]["content"].endswith("\n\nA. no\nB. yes")


def test_render_keeps_turns_that_do_not_end_with_the_user() -> None:
    turns = (Message(role="user", content="Up?"), Message(role="assistant", content="Hm."))
    *earlier, last = TASK.render(Example("1", turns, None, FPB))
    assert tuple(earlier) == turns
    assert last == {"role": "user", "content": "A. negative\nB. neutral\nC. positive"}
    assert TASK.render(Example("1", turns, None))[-1]["role"] == "user"


@pytest.mark.skipif(not DATA.exists(), reason="the RobustFT data isn't there")
@pytest.mark.parametrize("name", ["fpb", "arc"])
def test_real_options_are_told_apart(name: str) -> None:
    with (DATA / name / "labeled.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:300]
    for row in rows:
        texts = tuple(json.loads(row["options"]))
        for letter, text in zip(letters(len(texts)), texts, strict=True):
            assert TASK.extract(f"Answer: {letter}", texts, "strict") == letter
            assert TASK.extract(f"Answer: {letter}. {text}", texts) == letter
            if text not in letters(len(texts)):
                assert TASK.extract(f"Answer: {text}", texts) == letter
                assert TASK.label(text, texts) == letter
