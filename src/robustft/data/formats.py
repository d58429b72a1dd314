"""What a training row is in each format, and what LLaMA-Factory and axolotl must be told of a file of them.

Checked against LLaMA-Factory 0.9.5 (data/parser.py, data/converter.py), TRL 1.16 (data_utils.py, sft_trainer.py) and
axolotl's pages on dataset formats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustft.config import Format
from robustft.records import Message

Keys = dict[str, Any]

# The columns that a format's row is made of
OWN_COLUMNS: Mapping[Format, frozenset[str]] = {
    "alpaca": frozenset({"instruction", "input", "output", "system", "history"}),
    "sharegpt": frozenset({"conversations", "system"}),
    "messages": frozenset({"messages"}),
    "prompt-completion": frozenset({"prompt", "completion"}),
}
# Names to which one of the trainers gives a meaning: TRL takes a 'prompt' before it looks at 'messages' and leaves rows
# with 'labels' as they are, axolotl puts a 'system' before the turns. No column of the source may keep such a name.
LOADER_COLUMNS = (
    frozenset[str]().union(*OWN_COLUMNS.values())
    | {"chosen", "rejected", "text", "tools", "images", "image", "videos", "audios", "chat_template_kwargs"}
    | {"labels", "input_ids", "attention_mask", "completion_mask", "assistant_masks"}
)
_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What all rows of one file have in common.

    `pairs`: preference pairs instead of responses. `system`, `history`: alpaca has these columns, for at least one row
    needs them. `plain`: prompt-completion as texts; else as lists of messages, to which TRL applies the chat template.
    """

    format: Format
    pairs: bool = False
    system: bool = False
    history: bool = False
    plain: bool = False


def keys_of(shape: Shape, messages: Sequence[Message], response: str, rejected: str | None = None) -> Keys:
    """Return the format's keys for one row, in their usual order. `rejected` is for pairs."""
    match shape.format:
        case "alpaca":
            turns = _alpaca(shape, messages)
            new = {"chosen": response, "rejected": rejected} if shape.pairs else {"output": response}
            return {"instruction": turns.pop("instruction"), "input": "", **new, **turns}
        case "sharegpt":
            talk = [{"from": _SHAREGPT_ROLES[turn["role"]], "value": turn["content"]} for turn in messages]
            if shape.pairs:
                chosen, other = {"from": "gpt", "value": response}, {"from": "gpt", "value": rejected}
                return {"conversations": talk, "chosen": chosen, "rejected": other}
            return {"conversations": [*talk, {"from": "gpt", "value": response}]}
        case "messages":
            if shape.pairs:
                return {"messages": [*messages], "chosen": _assistant(response), "rejected": _assistant(rejected)}
            return {"messages": [*messages, _assistant(response)]}
        case "prompt-completion" if shape.plain:
            new = {"chosen": response, "rejected": rejected} if shape.pairs else {"completion": response}
            return {"prompt": messages[-1]["content"], **new}
        case "prompt-completion":
            if shape.pairs:
                return {"prompt": [*messages], "chosen": [_assistant(response)], "rejected": [_assistant(rejected)]}
            return {"prompt": [*messages], "completion": [_assistant(response)]}


def llamafactory_entry(shape: Shape, file: str) -> Keys | None:
    """Return the file's entry of dataset_info.json; None for lists in prompt-completion, which it can't load."""
    columns: Mapping[str, str]
    tags: Keys = {}
    match shape.format:
        case "alpaca":
            columns = {"prompt": "instruction", "query": "input", "response": "output"}
            columns |= {name: name for name in ("system", "history") if getattr(shape, name)}
        case "sharegpt":
            columns, tags = {"messages": "conversations"}, _tags("from", "value", "human", "gpt")
        case "messages":
            # its 'openai' formatting adds a system prompt of its own; 'sharegpt' with these tags doesn't
            columns, tags = {"messages": "messages"}, _tags("role", "content", "user", "assistant")
        case "prompt-completion" if shape.plain:
            columns = {"prompt": "prompt", "response": "completion"}
        case "prompt-completion":
            return None
    if shape.pairs:
        columns = {key: name for key, name in columns.items() if key != "response"}
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    entry: Keys = {"file_name": file, "formatting": "sharegpt" if tags else "alpaca"}
    return (
        entry
        | ({"ranking": True} if shape.pairs else {})
        | {"columns": dict(columns)}
        | ({"tags": tags} if tags else {})
    )


def axolotl_entry(shape: Shape, path: Path) -> Keys | None:
    """Return the file's entry under axolotl's `datasets`; None where no type of its reads the whole row."""
    kind: Keys
    match shape.format:
        case "alpaca" if not (shape.system or shape.history):
            kind = {"type": "alpaca"}
        case "sharegpt":
            kind = _chat_template("conversations", "from", "value")
        case "messages":
            kind = _chat_template("messages", "role", "content")
        case "prompt-completion" if shape.plain:
            fields = {"field_instruction": "prompt", "field_output": "completion"}
            kind = {
                "type": fields | {"system_prompt": "", "format": "{instruction}", "no_input_format": "{instruction}"}
            }
        case _:
            return None
    return {"path": str(path), "ds_type": "json", **kind}


def _alpaca(shape: Shape, messages: Sequence[Message]) -> Keys:
    turns: Keys = {}
    if shape.system:
        turns["system"] = next((turn["content"] for turn in messages if turn["role"] == "system"), "")
    *earlier, last = [turn["content"] for turn in messages if turn["role"] != "system"]
    if shape.history:
        turns["history"] = [list(pair) for pair in zip(earlier[::2], earlier[1::2], strict=True)]
    return {"instruction": last, **turns}


def _assistant(content: str | None) -> Keys:
    return {"role": "assistant", "content": content}


def _tags(role: str, content: str, user: str, assistant: str) -> Keys:
    tags = {"role_tag": role, "content_tag": content, "user_tag": user, "assistant_tag": assistant}
    return {**tags, "system_tag": "system"}


def _chat_template(messages: str, role: str, content: str) -> Keys:
    mapping = {"role": role, "content": content}
    return {"type": "chat_template", "field_messages": messages, "message_property_mappings": mapping}
