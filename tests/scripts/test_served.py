import pytest

from robustft.llm.client import Completion
from scripts.served import parting


def said(*tokens: str, **top: float) -> Completion:
    return Completion("".join(tokens), tokens=tokens, top_logprobs=tuple(top for _ in tokens))


def test_the_same_text_parts_nowhere() -> None:
    assert parting(said("yes", "."), said("yes", ".")) is None


def test_texts_part_at_the_first_token_that_differs() -> None:
    found = parting(said("so", "yes", yes=-0.5, no=-0.75), said("so", "no", yes=-0.5, no=-0.5))
    assert found is not None
    assert (found.here, found.there) == ("yes", "no")
    assert (found.gap_here, found.gap_there) == pytest.approx((0.25, 0.0))


def test_a_token_that_the_other_side_does_not_list_is_no_tie() -> None:
    found = parting(said("yes", yes=-0.5), said("no", no=-0.5))
    assert found is not None
    assert found.gap_here == float("inf")
