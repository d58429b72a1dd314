"""Examines the config's model: an endpoint by all checks, a model in this process by what applies there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from robustft.config import Config
from robustft.doctor.checks import CHECKS, VITAL, Check
from robustft.doctor.findings import Finding, Report
from robustft.doctor.in_process import examine_local, examine_scripted
from robustft.doctor.visit import Visit
from robustft.doctor.wire import ProbeError, Wire
from robustft.errors import ConfigError
from robustft.llm.batch.vllm import RunBatch
from robustft.llm.openai.address import base_url
from robustft.llm.openai.capabilities import Capabilities, keep
from robustft.llm.openai.dialect import Dialect
from robustft.offline import guarded

Say = Callable[[str], None]


async def examine(config: Config, say: Say = lambda line: None) -> Report:
    """Find out what the config's model can do; nothing of it goes through the ledger.

    An endpoint's findings are kept in the cache folder, where later runs start from them. `say` is told each check's
    name before it is made. Raises ConfigError where the address or the key can't be one.
    """
    with guarded(config):
        return await _examine(config, say)


async def _examine(config: Config, say: Say) -> Report:
    llm = config.llm
    if llm.backend == "local":
        return await examine_local(config, say)
    if llm.backend == "scripted":
        return examine_scripted(config)
    if llm.lane == "vllm-batch" and not base_url(llm, default=""):
        return _examine_command(config)
    wire = Wire(llm)
    try:
        return await _examine_endpoint(Visit(config, wire, Dialect.of(llm)), say)
    finally:
        await wire.aclose()


async def _examine_endpoint(visit: Visit, say: Say) -> Report:
    findings: dict[str, Finding] = {}
    for name, check in CHECKS.items():
        say(name)
        findings[name] = await _made(name, check, visit)
        if name in VITAL and findings[name].result == "failed":
            return _report(visit, findings)
    kept = Capabilities(
        endpoint=visit.wire.base_url,
        model=visit.model,
        found=date.today(),
        length="max_tokens" if visit.dialect.length == "max_tokens" else "max_completion_tokens",
        takes_logprobs=visit.dialect.logprobs,
        takes_alternatives=visit.dialect.alternatives,
        gives_logprobs=visit.gives_logprobs,
        gives_scores=visit.gives_scores,
        chooses=visit.chooses,
    )
    return _report(visit, findings, kept)


async def _made(name: str, check: Check, visit: Visit) -> Finding:
    try:
        return await check(visit)
    except ProbeError as error:
        return Finding("failed" if error.gone or name in VITAL else "degraded", error.seen, error.way_out)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        seen = f"a reply of a form that nobody foresaw ({type(error).__name__})"
        return Finding("failed" if name in VITAL else "degraded", seen, "look at the server's log")


def _report(visit: Visit, findings: dict[str, Finding], kept: Capabilities | None = None) -> Report:
    spent = {"requests": visit.wire.requests} | visit.tokens
    examined = f"{visit.model} at {visit.wire.base_url}"
    try:
        file = keep(kept) if kept else None
    except OSError:  # a cache folder that can't be written takes nothing from the findings
        kept = file = None
    return Report(examined, findings, kept, file, spent)


def _examine_command(config: Config) -> Report:
    """Look for the program that answers batch files; it has no server to ask."""
    try:
        RunBatch(config.llm)
        found = Finding("ok", "the program is there", "learns the rest from the first file")
    except ConfigError as error:
        found = Finding("failed", str(error), "install vLLM, or choose another lane")
    return Report(f"{config.llm.model} by {config.llm.batch.command}", {"command": found})
