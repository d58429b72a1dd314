"""The texts that a visit asks with: short, harmless, and with answers that tell the cases apart."""

from __future__ import annotations

QUESTION = (
    "What is the capital of France?\nA) Rome\nB) Paris\nC) Madrid\n\n"
    "Answer directly, without any explanation. Reply with one line only:\nAnswer: LETTER"
)
CAPITAL = "What is the capital of France? Answer with one word."
SCORED = "Paris"
COUNTING = "Count from one to two hundred, in words."
SENTENCE = "Write one sentence about the sea."
RANDOM = "Make up a name and a random number of ten digits."

STONES = ("quartz", "basalt")
"""What a constraint allows as an answer to CAPITAL, and nobody would say by himself."""
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": list(STONES)}},
    "required": ["answer"],
    "additionalProperties": False,
}
CHOOSES = "structured_outputs"
"""The one that a run uses."""
CONSTRAINTS: dict[str, dict[str, object]] = {
    CHOOSES: {"structured_outputs": {"choice": list(STONES)}},
    "response_format": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "stone", "strict": True, "schema": _SCHEMA},
        }
    },
    "guided_choice": {"guided_choice": list(STONES)},
}
"""The ways in which servers take a constraint: vLLM's, OpenAI's, and older vLLM's."""

NEEDLES = ("lighthouse", "marigold")
"""The passwords of the short and of the long prompt."""
LONG = 3000
"""Words of the long prompt."""
SHORT = 200
"""Words of the short prompt, whose tokens say how many the long one must have."""
_WORDS_OF_A_SENTENCE = 8


def needle_prompt(needle: str, words: int) -> str:
    """Return a prompt of about `words` words that begins with a password and ends by asking for it.

    Its numbers make it longer in tokens than in words: 3,000 words don't fit into a context of 4,096, which is what
    some servers have unless they are told otherwise.
    """
    sentences = range(words // _WORDS_OF_A_SENTENCE)
    rooms = " ".join(f"Room {1000 + n} holds {n % 90 + 10} chairs and {n % 9 + 1} tables." for n in sentences)
    return f"The password is {needle}. Remember it.\n\n{rooms}\n\nWhat is the password? Reply with that one word."
