"""Data is read as data: what looks like a chat template's own tokens is broken up before a model sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustft.records import Message

_CONTROL = re.compile(
    r"<(?=\|\w[\w .:/-]{0,40}\|>)"  # <|im_start|>, <|eot_id|>, <|start_header_id|>
    r"|<(?=｜[^｜]{1,40}｜>)"  # DeepSeek's
    r"|<(?=/?(?:s|bos|eos|pad|unk|think)>)"
    r"|<(?=(?:start|end)_of_turn>)"
    r"|<(?=<?/?SYS>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)


def holds_control_tokens(text: str) -> bool:
    """Whether a text holds what a chat template would take for its own."""
    return ("<" in text or "[" in text) and _CONTROL.search(text) is not None


def without_control_tokens(text: str) -> str:
    """Return the text with a space after the first character of each such token: no tokenizer takes it for one then."""
    if "<" not in text and "[" not in text:
        return text
    return _CONTROL.sub(lambda found: f"{found[0]} ", text)


def as_data(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with no control token in their contents; the very same object where there was none."""
    if not any(holds_control_tokens(message["content"]) for message in messages):
        return messages
    return [Message(role=turn["role"], content=without_control_tokens(turn["content"])) for turn in messages]
