from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from robustft.doctor.probes import NEEDLES, needle_prompt


@given(st.sampled_from(NEEDLES), st.integers(8, 4000))
def test_a_password_stands_at_the_beginning_of_a_prompt_of_this_length(needle: str, words: int) -> None:
    prompt = needle_prompt(needle, words)
    assert prompt.startswith(f"The password is {needle}.")
    assert prompt.count(needle) == 1
    assert 0 <= len(prompt.split()) - words + 8 <= 30
