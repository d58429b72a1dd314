"""The forms in which log-probabilities come, and those in which they don't."""

from __future__ import annotations

from typing import Any

import pytest

from robustft.doctor.logprobs import shape_of

TOKEN = {"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "A", "logprob": -0.1}]}


@pytest.mark.parametrize(
    ("given", "payload", "shape"),
    [
        (None, b'{"index": 0}', "none"),
        (None, b'{"logprobs": null}', "null"),
        ([], b"", "of an unknown form (list)"),
        ({}, b"", "empty"),
        ({"content": []}, b"", "empty"),
        ({"content": None, "refusal": None}, b"", "empty"),
        ({"content": [TOKEN]}, b"", "chat form, 1 alternatives a token"),
        ({"content": [TOKEN | {"top_logprobs": None}]}, b"", "chat form, 0 alternatives a token"),
        ({"content": [TOKEN | {"logprob": None}, TOKEN]}, b'"logprob": NaN', "NaN at 1 of 2 tokens"),
        ({"content": [TOKEN | {"logprob": None}]}, b'"NaN? no": null', "null at 1 of 1 tokens"),
        ({"content": [TOKEN | {"logprob": None}]}, b'"logprob":-Infinity', "Infinity at 1 of 1 tokens"),
        (
            {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1, "B": -2.0}]},
            b"",
            "form of plain completions, 2 alternatives a token",
        ),
        ({"tokens": ["A"], "token_logprobs": None}, b"", "null at 1 of 1 tokens"),
    ],
)
def test_shapes(given: Any, payload: bytes, shape: str) -> None:
    assert shape_of(given, payload) == shape
