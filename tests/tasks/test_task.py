from __future__ import annotations

import pytest

from robustft.config import TaskConfig
from robustft.records import Example
from robustft.tasks import make_task
from robustft.tasks.task import given


@pytest.mark.parametrize(
    ("response", "value"), [("neutral", "B"), ("(c)", "C"), ("splendid", None), ("", None), (None, None)]
)
def test_the_given_value_is_that_of_the_response_where_there_is_one(response: str | None, value: str | None) -> None:
    task = make_task(TaskConfig(kind="choice"))
    assert given(Example("r", (), response, ("negative", "neutral", "positive")), task) == value
