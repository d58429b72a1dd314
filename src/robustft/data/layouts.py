"""What the columns of a row mean: from a raw row to its turns, and back with another response."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robustft.config import DataConfig
from robustft.data.cells import RowError, answer, cell, listed, shown, text
from robustft.errors import DataError, listing
from robustft.records import Message

Layout = Literal["columns", "alpaca", "sharegpt", "messages", "prompt-completion"]

_KNOWN_COLUMNS: tuple[tuple[Layout, frozenset[str]], ...] = (
    ("sharegpt", frozenset({"conversations"})),
    ("messages", frozenset({"messages"})),
    ("alpaca", frozenset({"instruction", "output"})),
    ("prompt-completion", frozenset({"prompt", "completion"})),
)
_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
}
_TURN_KEYS = (("from", "value"), ("role", "content"))


@dataclass(frozen=True, slots=True)
class Turns:
    """A row understood: all turns before the response, and the response (None: unlabelled).

    `messages` are at most one system turn, then user and assistant by turns, from a user turn to a user turn: what
    every trainer and chat template takes.
    """

    messages: tuple[Message, ...]
    response: str | None


def detect(columns: Collection[str], data: DataConfig) -> Layout:
    """Tell a file's layout from its columns, unless the config says it.

    Raises DataError, which lists the columns, where no layout fits, or where both the mapped columns and a known
    layout do: an export of ours holds the old question and response beside the new ones.
    """
    if data.layout != "auto":
        return data.layout
    fitting = [layout for layout, known in _KNOWN_COLUMNS if known <= set(columns)]
    mapped = data.question in columns
    if fitting and mapped and data.response in columns:
        raise DataError(f"could be read as columns ('{data.question}') or as {fitting[0]}; say which in data.layout")
    if mapped or fitting:
        return fitting[0] if fitting else "columns"
    raise DataError(
        f"no known layout has the columns {listing(columns) or '(none)'}; name the question's and the response's "
        "column in data.question and data.response"
    )


def response_column(layout: Layout, data: DataConfig) -> str:
    """Return the column in which the layout holds the response."""
    match layout:
        case "columns":
            return data.response
        case "alpaca":
            return "output"
        case "sharegpt":
            return "conversations"
        case "messages":
            return "messages"
        case "prompt-completion":
            return "completion"


def to_turns(values: Mapping[str, Any], layout: Layout, data: DataConfig) -> Turns:
    """Understand a raw row. Raises RowError, which names the column."""
    match layout:
        case "columns":
            question = _filled(text(cell(values, data.question), data.question), data.question)
            context = text(cell(values, data.context), data.context) if data.context else ""
            asked = f"{context}\n\n{question}" if context.strip() else question
            return Turns((Message(role="user", content=asked),), answer(cell(values, data.response), data.response))
        case "alpaca":
            return _alpaca(values)
        case "sharegpt":
            return _conversation(cell(values, "conversations"), "conversations", text(values.get("system"), "system"))
        case "messages":
            return _conversation(cell(values, "messages"), "messages")
        case "prompt-completion":
            return _prompt_completion(values)


def with_response(values: Mapping[str, Any], layout: Layout, data: DataConfig, response: str) -> dict[str, Any]:
    """Return the row with another response, written where the layout has it; the rest stays as it is."""
    column = response_column(layout, data)
    if layout in ("sharegpt", "messages") or (layout == "prompt-completion" and not _is_text(values["prompt"])):
        return {**values, column: _answered(values[column], column, response)}
    return {**values, column: response}


def _alpaca(values: Mapping[str, Any]) -> Turns:
    # instruction and input are joined as LLaMA-Factory joins them
    parts = (text(cell(values, "instruction"), "instruction"), text(values.get("input"), "input"))
    asked = _filled("\n".join(part for part in parts if part), "instruction")
    system = text(values.get("system"), "system")
    messages = [Message(role="system", content=system)] if system.strip() else []
    for pair in listed(values.get("history"), "history"):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(turn, str) for turn in pair)):
            raise RowError(f"a pair of question and answer is expected, not {shown(pair)}", field="history")
        messages += [Message(role="user", content=pair[0]), Message(role="assistant", content=pair[1])]
    messages.append(Message(role="user", content=asked))
    return Turns(tuple(messages), answer(cell(values, "output"), "output"))


def _prompt_completion(values: Mapping[str, Any]) -> Turns:
    prompt, completion = cell(values, "prompt"), cell(values, "completion")
    if _is_text(prompt):
        asked = _filled(text(prompt, "prompt"), "prompt")
        return Turns((Message(role="user", content=asked),), answer(completion, "completion"))
    return _conversation(listed(prompt, "prompt") + listed(completion, "completion"), "prompt")


def _is_text(prompt: Any) -> bool:
    """Whether the prompt is plain text; a CSV holds a list of turns as JSON, which is no plain text."""
    if not isinstance(prompt, str):
        return False
    try:
        turns = json.loads(prompt)
    except (ValueError, RecursionError):
        return True
    return not (isinstance(turns, list) and turns and all(isinstance(turn, dict) and "role" in turn for turn in turns))


def _conversation(value: Any, field: str, system: str = "") -> Turns:
    messages = [_message(turn, field) for turn in listed(value, field)]
    response: str | None = None
    if messages and messages[-1]["role"] == "assistant":
        last = messages.pop()["content"]
        response = last if last.strip() else None
    if messages and messages[0]["role"] == "system":
        system = messages.pop(0)["content"]
    roles = [turn["role"] for turn in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        order = ", ".join(roles) or "none"
        raise RowError(f"user and assistant must take turns, from a user's to a user's; found {order}", field=field)
    _filled(messages[-1]["content"], field)
    instructed = [Message(role="system", content=system)] if system.strip() else []
    return Turns((*instructed, *messages), response)


def _message(turn: Any, field: str) -> Message:
    if isinstance(turn, dict):
        for role_key, content_key in _TURN_KEYS:
            role = turn.get(role_key)
            if role is not None:
                if not isinstance(role, str) or role not in _ROLES:
                    raise RowError(f"unknown role {shown(role)}; known: {', '.join(_ROLES)}", field=field)
                return Message(role=_ROLES[role], content=text(turn.get(content_key), field))
    raise RowError(f"a turn has from and value, or role and content; found {shown(turn)}", field=field)


def _answered(value: Any, field: str, response: str) -> Any:
    """Return the conversation with the response as its last turn, in the form (list or JSON text) that it had."""
    turns = listed(value, field)
    last = turns[-1] if turns else {"role": "user"}
    role_key, content_key = next(keys for keys in _TURN_KEYS if last.get(keys[0]) is not None)
    if _ROLES[last[role_key]] == "assistant":
        turns = [*turns[:-1], {**last, content_key: response}]
    else:
        turns = [*turns, {role_key: "gpt" if role_key == "from" else "assistant", content_key: response}]
    return json.dumps(turns, ensure_ascii=False) if isinstance(value, str) and value.strip() else turns


def _filled(value: str, field: str) -> str:
    if not value.strip():
        raise RowError("the question is empty", field=field)
    return value
