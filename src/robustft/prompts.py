"""Prompt templates whose slots are checked when they are made, not when the first row meets them."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

from robustft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text with named slots in braces, such as `{question}`; `{{` and `}}` stand for the braces themselves.

    `name` is the config key under which a user overrides it. `slots` are the names that must occur, `optional` those
    that may. Raises ConfigError for a missing or an unknown slot.
    """

    name: str
    text: str
    slots: frozenset[str]
    optional: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        try:
            parsed = list(Formatter().parse(self.text))
        except ValueError as error:
            raise ConfigError(f"prompts.{self.name}: {error}; write {{{{ and }}}} for braces") from None
        # '{question!r}' and '{question.x}' would reach into the value; a slot is a bare name
        found = {
            name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            for _, name, spec, conversion in parsed
            if name is not None
        }
        known = self.slots | self.optional
        if unknown := sorted(found - known):
            raise ConfigError(f"prompts.{self.name}: unknown slot {{{unknown[0]}}}; known: {', '.join(sorted(known))}")
        if missing := sorted(self.slots - found):
            raise ConfigError(f"prompts.{self.name}: missing slot {{{missing[0]}}}")

    def fill(self, **values: str) -> str:
        """Return the text with its slots filled; braces inside the values stay as they are."""
        return self.text.format(**dict.fromkeys(self.optional, "") | values)

    def overridden(self, text: str | None) -> Prompt:
        """Return this prompt with the user's text, or itself where there is none."""
        return self if text is None else Prompt(self.name, text, self.slots, self.optional)
