"""The check of long prompts: a password at the beginning, and the server's own count of the prompt's tokens."""

from __future__ import annotations

from robustft.doctor.findings import Finding
from robustft.doctor.probes import LONG, NEEDLES, SHORT, needle_prompt
from robustft.doctor.visit import Said, Visit
from robustft.doctor.wire import ProbeError
from robustft.llm.client import Sampling

_STATED = ("max_model_len", "context_length", "context_window")
"""Where vLLM, OpenRouter and Groq say in /models how many tokens a model reads."""
_FULL = 0.75
"""A prompt with less than this share of its tokens was cut. The rest is room for the template."""


async def long_prompts(visit: Visit) -> Finding:
    """Ask for the password of a short and of a long prompt, and compare their tokens.

    A model that is too weak to repeat a word from a short prompt says nothing of a long one: then the count decides.
    """
    short = await _ask(visit, NEEDLES[0], SHORT)
    ratio = short.completion.usage.prompt_tokens / SHORT
    words = _words(visit, ratio)
    try:
        said = await _ask(visit, NEEDLES[1], words)
    except ProbeError as error:
        if error.gone or not error.seen.startswith("4"):
            raise
        return Finding(
            "ok", f"refuses {words} words: {visit.wire.show(error.seen, 80)}", "sets such rows aside for review"
        )
    counted, expected = said.completion.usage.prompt_tokens, round(ratio * words)
    knows = [needle in _whole(each) for needle, each in zip(NEEDLES, (short, said), strict=True)]
    if counted and expected and counted < _FULL * expected:
        seen = f"of about {expected} tokens {counted} are read, and no error"
        return Finding("degraded", seen, "doesn't notice: keep prompts shorter, or raise the server's context")
    if knows[1]:
        return Finding(
            "ok", f"{words} words ({counted or '?'} tokens) are read from their beginning", "sends rows whole"
        )
    if knows[0]:
        seen = f"the beginning of {words} words ({counted or '?'} tokens) is not read, and no error"
        return Finding("degraded", seen, "doesn't notice: keep prompts shorter, or raise the server's context")
    if counted:
        return Finding("ok", f"{words} words count in full ({counted} tokens)", "sends rows whole")
    return Finding("degraded", "no token counts, and the model repeats no word", "can't notice where a prompt is cut")


async def _ask(visit: Visit, needle: str, words: int) -> Said:
    return await visit.ask(needle_prompt(needle, words), Sampling(max_tokens=visit.room))


def _words(visit: Visit, ratio: float) -> int:
    """Return how long a prompt can be, at most LONG words, that leaves a fifth of the stated context free."""
    entry = next((entry for entry in visit.listed or () if entry["id"] == visit.model), {})
    stated = next((entry[key] for key in _STATED if isinstance(entry.get(key), int)), None)
    if not stated or not ratio:
        return LONG
    return max(SHORT, min(LONG, int((0.8 * stated - visit.room) / ratio)))


def _whole(said: Said) -> str:
    return (said.completion.reasoning + said.completion.text).lower()
