"""The lines of output and error files, in the forms of OpenAI and vLLM, in any order, twice, and broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.errors import ModelError
from robustft.llm.batch.results import Line, find, missing, read_line, read_place, understood
from robustft.llm.openai.endpoint import RefusedError, TransientError

REPLY = {"choices": [{"message": {"content": "A"}}]}


def line(response: Any, error: Any = None, name: str = "a") -> bytes:
    return orjson.dumps({"id": "r", "custom_id": name, "response": response, "error": error}) + b"\n"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (line({"status_code": 200, "body": REPLY}), Line("a", 200, REPLY)),
        (
            line({"status_code": 400, "body": {"error": {"message": "too long", "code": "x"}}}),
            Line("a", 400, None, "too long [x]"),
        ),
        # vLLM: no body, and an error that is an object or a text
        (
            line({"status_code": 400, "body": None}, {"error": {"message": "too long", "code": 400}}),
            Line("a", 400, None, "too long"),
        ),
        (line({"status_code": 400, "body": None}, "no such endpoint"), Line("a", 400, None, "no such endpoint")),
        (line({"status_code": 200, "body": None}, "a stream"), Line("a", 500, None, "a stream")),
        (line({"status_code": 200, "body": None}), Line("a", 500, None, "no reason given")),
        # a gateway's
        (line({"status_code": 200, "body": {"error": {"message": "busy", "code": 503}}}), Line("a", 503, None, "busy")),
        (
            line(None, {"code": "batch_expired", "message": "too late"}),
            Line("a", None, None, "too late [batch_expired]"),
        ),
        (b'{"custom_id": "a", "response": {"status_code": 200, "body": {"x": NaN}}}', Line("a", 200, {"x": None})),
    ],
)
def test_the_forms_of_a_line(raw: bytes, expected: Line) -> None:
    assert read_line(raw) == expected


@pytest.mark.parametrize("raw", [b"{", b"[]", b"{}", b'{"custom_id": 1}', b'{"custom_id": "a", "response": {}}'])
def test_what_is_no_line(raw: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        read_line(raw)


@given(data=st.data())
def test_each_name_is_found_once_and_a_good_line_is_preferred(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("lines")
    names = [f"n{n}" for n in range(6)]
    entries = data.draw(
        st.lists(st.tuples(st.sampled_from([*names, "nobody"]), st.sampled_from([200, 400, 500, None])))
    )
    cut = data.draw(st.integers(0, len(entries)))
    for path, part in (("output", entries[:cut]), ("errors", entries[cut:])):
        rows = [
            line(status and {"status_code": status, "body": {"n": n}}, name=name)
            for n, (name, status) in enumerate(part)
        ]
        (folder / path).write_bytes(b"\n".join(rows) + b'{"custom_id": "br')
    found = find((folder / "output", folder / "errors", folder / "none"), set(names))
    assert set(found.places) == {name for name, _ in entries} - {"nobody"}
    assert (found.strange, found.broken) == (sum(name == "nobody" for name, _ in entries), 2)
    for name, place in found.places.items():
        read = read_place(place)
        assert read.name == name
        assert read.good == place.good == any(status == 200 for other, status in entries if other == name)
    assert found.answered == sum(place.good for place in found.places.values())


def understand(given: Line) -> str:
    return understood(given, lambda reply: str(reply["choices"][0]["message"]["content"]), "http://x/v1")


def test_what_an_outcome_means() -> None:
    assert understand(Line("a", 200, REPLY)) == "A"
    for passing in (
        Line("a", 200, {"choices": []}),
        Line("a", 500, None, "s"),
        Line("a", 429, None, "s"),
        missing("a"),
    ):
        with pytest.raises(TransientError):
            understand(passing)
    with pytest.raises(RefusedError, match="too long") as caught:
        understand(Line("a", 400, None, "too long"))
    assert not caught.value.fatal
    for hopeless in (
        Line("a", 401, None, "key"),
        Line("a", 404, None, "model"),
        Line("a", 429, None, "[insufficient_quota]"),
    ):
        with pytest.raises(ModelError) as caught_fatal:
            understand(hopeless)
        assert caught_fatal.value.fatal
