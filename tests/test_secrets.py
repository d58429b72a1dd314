"""A key that is planted is in nothing that a run leaves behind, says or raises."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from pydantic import ValidationError

from llm.server import Body, ChatServer
from robustft.config import LLMConfig
from robustft.errors import RobustFTError
from robustft.loading import load_config, make_config
from robustft.pipeline import denoise
from support import MakeConfig, Notes, write_moods
from test_cli import robustft

CANARY = "sk-canary-7f3a9c51e2"


async def echo(request: web.Request, body: Body) -> web.Response:
    """Fail with the key in the error's text, as some gateways do."""
    return web.json_response({"error": {"message": f"bad key {request.headers['Authorization']}"}}, status=500)


async def turn_away(request: web.Request, body: Body) -> web.Response:
    return web.json_response({"error": {"message": f"unknown key {CANARY}, {CANARY!r}"}}, status=401)


def holding(folder: Path, secret: str) -> list[Path]:
    """Return the files that hold a text, in any of the ways that they are written."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("fault", [None, echo, turn_away])
async def test_the_key_is_in_no_file_no_message_and_no_log(
    make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    caplog.set_level(logging.DEBUG)
    notes = Notes()
    async with ChatServer(fault=fault, key=CANARY) as server:
        llm = {"backend": "openai", "base_url": server.url, "model": "m", "attempts": 1}
        config = make(write_moods(tmp_path / "d.csv"), llm=llm)
        said = ""
        try:
            await denoise(config, tmp_path / "run", progress=notes)
        except RobustFTError as error:
            said = repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__)
        assert {wire.authorization for wire in server.seen} == {f"Bearer {CANARY}"}
    assert CANARY not in said + "".join(notes.lines) + repr(config) + caplog.text
    assert bool(said) == (fault is turn_away)  # few rows that fail are marked, and end no run
    with sqlite3.connect(tmp_path / "ledger.sqlite") as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert holding(tmp_path, CANARY) == []


def test_the_search_would_find_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"x {CANARY}")
    assert holding(tmp_path, CANARY) == [tmp_path / "a"]


@pytest.mark.parametrize(
    "llm",
    [
        {"base_url": f"https://{CANARY}@host/v1"},
        {"base_url": f"https://host/v1?key={CANARY}"},
        {"api_key_env": CANARY},
        {"api_key": CANARY},
        {"extra_body": {"api_key": CANARY}},
        {"extra_body": {"headers": {"Authorization": f"Bearer {CANARY}"}}},
    ],
    ids=["user", "query", "env", "unknown", "body", "nested"],
)
def test_a_key_in_the_config_is_refused_and_not_repeated(llm: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"llm": {"backend": "openai"} | llm}), encoding="utf-8")
    with pytest.raises(RobustFTError) as found:
        load_config(path)
    assert CANARY not in str(found.value)
    assert "llm" in str(found.value)
    with pytest.raises(ValidationError) as raw:
        LLMConfig(**llm)
    assert CANARY not in str(raw.value)
    assert CANARY not in robustft("run", path, "-o", tmp_path / "run", code=2).stderr
    assert not (tmp_path / "run").exists()


def test_what_is_no_key_is_taken() -> None:
    body = {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens_per_turn": 3}
    llm = make_config({"llm": {"backend": "openai", "extra_body": body, "api_key_env": "MY_KEY"}}).llm
    assert llm.extra_body == body


def config_file(folder: Path, url: str) -> Path:
    write_moods(folder / "d.csv", n=24)
    llm = {"backend": "openai", "base_url": url, "model": "m", "attempts": 1}
    config = {"data": {"path": "d.csv"}, "llm": llm, "embedder": "tfidf", "ledger": "l.sqlite", "method": "paper"}
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


async def test_no_command_says_or_writes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    async with ChatServer(answer=lambda body: "Answer: B", key=CANARY) as server:
        config = config_file(tmp_path, server.url)
        for words in (
            ("doctor", config),
            ("plan", config, "--pilot", 5),
            ("run", config, "-o", run),
            ("explain", run, "r0"),
            ("export", run, "--format", "sharegpt"),
            ("report", run),
            ("review", run, "--export", tmp_path / "rows.json", "--decision", "keep"),
            ("audit", config, "-o", tmp_path / "audited"),
        ):
            done = await asyncio.to_thread(robustft, *words)
            assert CANARY not in done.stdout + done.stderr, words
        assert len(server.seen) > 24
    assert len(holding(tmp_path, "")) > 30
    assert holding(tmp_path, CANARY) == []


FAULT_OF_OUR_OWN = """
from robustft.cli.app import main
from robustft.llm.openai import endpoint
endpoint.work_of = lambda reply: 1 / 0
main()
"""


async def test_a_traceback_shows_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own, beneath all that holds the key, shows the lines of the program, not what variables hold."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    async with ChatServer() as server:
        config = config_file(tmp_path, server.url)
        command = [sys.executable, "-c", FAULT_OF_OUR_OWN, "run", str(config), "-o", str(tmp_path / "run")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert server.calls
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    assert holding(tmp_path, CANARY) == []
