"""What a call costs the client itself: ours, ledger on, against the openai library and a semaphore.

    python -m benchmarks.speed.client --calls 20000

Every arm sends the same short chat requests, with 20 alternatives a token, 64 at once, to a server in a process of its
own that answers at once. Each arm runs in a process of its own, and its CPU seconds, user and system, are what counts:
how long it takes depends on the server too. `aiohttp + orjson` is the least that a client in Python can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from openai import AsyncOpenAI

from benchmarks.quality.machine import machine
from benchmarks.speed.server import serving
from robustft.config import LLMConfig
from robustft.engine.local import run_all, run_until_done
from robustft.llm.calls import Calls
from robustft.llm.client import Sampling, Tag
from robustft.llm.ledger import Ledger, LedgeredLLM
from robustft.llm.openai.model import OpenAILLM
from robustft.records import Message

AT_ONCE = 64
ALTERNATIVES = 20
PROMPT = (
    "What is the sentiment of this sentence, to an investor?\n\nOperating profit rose to EUR 13.1 mn from EUR 8.7 mn "
    "in the corresponding period in 2007, sentence {number}.\n\nA. negative\nB. neutral\nC. positive\n\n"
    "Answer directly, without any explanation. Reply with one line only:\nAnswer: letter"
)
BODY = {"model": "m", "temperature": 1.0, "max_tokens": 512, "logprobs": True, "top_logprobs": ALTERNATIVES}

Arm = Callable[[str, int], Coroutine[Any, Any, None]]


def messages(number: int) -> list[Message]:
    """Return a request's messages; no two are the same."""
    return [Message(role="user", content=PROMPT.format(number=number))]


async def with_openai(url: str, calls: int) -> None:
    """Gather all calls, a semaphore bounds them: what most scripts do."""
    slots = asyncio.Semaphore(AT_ONCE)
    async with AsyncOpenAI(base_url=url, api_key="EMPTY") as client:

        async def ask(number: int) -> str:
            async with slots:
                reply = await client.chat.completions.create(  # type: ignore[call-overload]
                    messages=messages(number), **BODY
                )
                return str(reply.choices[0].message.content)

        await asyncio.gather(*(ask(number) for number in range(calls)))


async def with_aiohttp(url: str, calls: int) -> None:
    """Send and parse, and nothing else."""
    numbers = iter(range(calls))
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def work() -> None:
            for number in numbers:
                body = orjson.dumps({"messages": messages(number), **BODY})
                async with session.post(f"{url}/chat/completions", data=body) as response:
                    orjson.loads(await response.read())

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def with_robustft(url: str, calls: int) -> None:
    """Ask as a stage does: retries, adaptive limit, replies read into records, each kept in the ledger."""
    sampling = Sampling(temperature=1.0, max_tokens=512, top_logprobs=ALTERNATIVES)
    with tempfile.TemporaryDirectory() as folder:
        opened = OpenAILLM.open(LLMConfig(backend="openai", base_url=url, model="m", concurrency=AT_ONCE))
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        llm = LedgeredLLM(opened, ledger, opened.identity, Calls())

        async def ask(number: int) -> str:
            return (await llm.complete(messages(number), sampling, Tag(str(number), "direct"))).text

        await run_all(ask, range(calls), AT_ONCE, lambda number, text: None)
        await llm.aclose()
        assert len(ledger) == calls
        ledger.close()


ARMS: dict[str, tuple[str, Arm]] = {
    "openai": ("openai library and a semaphore", with_openai),
    "robustft": ("robustft, ledger on", with_robustft),
    "aiohttp": ("aiohttp + orjson", with_aiohttp),
}


def measure(arm: str, url: str, calls: int) -> float:
    """Run an arm in a process of its own. Returns its CPU seconds for the calls."""
    command = [sys.executable, "-m", "benchmarks.speed.client", "--calls", str(calls), "--arm", arm, "--url", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 (our own command)
    return float(json.loads(done.stdout))


def seconds_of(arm: str, url: str, calls: int) -> float:
    """Return the CPU seconds that the calls take this process, without its start and a few calls to warm up."""
    call = ARMS[arm][1]
    # ours on the command line's own event loop, which is uvloop where that is installed
    run = run_until_done if arm == "robustft" else asyncio.run
    run(call(url, 2 * AT_ONCE))
    before = _cpu_seconds()
    run(call(url, calls))
    return _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table, or run one arm where that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    wanted = parser.parse_args(arguments)
    if wanted.arm:
        sys.stdout.write(f"{seconds_of(wanted.arm, wanted.url, wanted.calls)}\n")
        return
    with serving() as url:
        seconds = {arm: measure(arm, url, wanted.calls) for arm in ARMS}
    slowest = seconds["openai"]
    lines = [f"{machine()}; {wanted.calls} calls, openai {version('openai')}, aiohttp {version('aiohttp')}\n"]
    lines += ["| client | CPU a call, us | calls a CPU second | ratio |", "|---|---|---|---|"]
    for arm, took in seconds.items():
        each = took / wanted.calls
        lines.append(f"| {ARMS[arm][0]} | {each * 1e6:.0f} | {1 / each:.0f} | {slowest / took:.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
