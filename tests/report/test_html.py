from __future__ import annotations

from robustft.config import Config
from robustft.records import Decision, Example, Message
from robustft.report.html import MOST_ROWS, polyline, render

METRICS = {
    "n": 1,
    "method": "paper",
    "decisions": {"keep": 1, "relabel": 0, "drop": 0, "review": 0},
    "calls": {"requests": 3, "wall_s": 1.5},
    "truth": None,
    "training": None,
    "evaluation": None,
    "compare": None,
    "readings": {"direct": {"answers": 1, "abstained": 0, "read": 1, "strict": 1, "tolerant": 1}},
    "data": {"skipped": 0, "conflicting_questions": 0},
}
EVIL = "<script>alert(1)</script>"


def page(rows: int = 1, text: str = "Mood?") -> str:
    examples = [Example(f"r{i}", (Message(role="user", content=text),), "A", (text, "b")) for i in range(rows)]
    decisions = [Decision(e.id, "keep", "A", "A", 1.0, text, {"direct": "B", "reasoning": None}) for e in examples]
    return render("run", Config(), METRICS | {"n": rows}, examples, decisions)


def test_every_row_shows_its_votes_and_its_reason() -> None:
    html = page()
    assert "direct: B (b) · reasoning: no answer" in html
    assert "keep 1" in html
    assert "Against the truth" not in html


def test_what_comes_from_data_is_escaped_and_nothing_is_loaded() -> None:
    html = page(text=EVIL)
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "http" not in html.replace("http://127.0.0.1:8000", "")


def test_a_long_page_is_cut_and_says_so() -> None:
    html = page(rows=MOST_ROWS + 5)
    assert html.count("<tr data-outcome=") == MOST_ROWS
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 5} rows" in html


def test_the_loss_curve_is_drawn_from_zero() -> None:
    assert polyline([(1, 4.0), (2, 1.0), (5, 2.0)], width=100, height=40) == "0.0,0.0 25.0,30.0 100.0,20.0"
    assert polyline([(1, 0.0)], width=100, height=40) == "0.0,40.0"
    assert polyline([]) == ""
    training = {"training": {"steps": 2, "loss": {"first": 1.5, "last": 0.25}, "rows": 8, "model": EVIL}}
    curve = [{"step": 1, "loss": 1.5}, {"step": 2, "loss": 0.25}]
    html = render("run", Config(), METRICS | training, [], [], curve)
    assert '<polyline points="0.0,0.0 600.0,133.3"' in html
    assert "1.500 at the first, 0.250 at the last of 2" in html
    assert EVIL not in html
