from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from llm.server import ChatServer
from robustft.config import Config
from robustft.errors import ConfigError
from robustft.offline import NO_TELEMETRY, OfflineError, guarded
from robustft.pipeline import denoise
from robustft.run import RunDir
from support import LOCAL, MakeConfig, Notes, write_moods


def test_nothing_is_reached_but_the_endpoint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as there:
        mine, other = here.getsockname(), there.getsockname()
        tree = {"offline": True, "llm": {"backend": "openai", "base_url": f"http://127.0.0.1:{mine[1]}/v1"}}
        with guarded(Config.model_validate(tree)) as guard:
            socket.create_connection(mine).close()
            with pytest.raises(OfflineError, match="nothing is sent to"):
                socket.create_connection(other)
            with pytest.raises(OSError, match="nothing is sent to"):
                urllib.request.urlopen("http://example.invalid/")
        assert guard is not None
        assert guard.opened == {f"127.0.0.1:{mine[1]}": 1}
        assert set(guard.refused) == {f"127.0.0.1:{other[1]}", "example.invalid:80"}
        socket.create_connection(other).close()  # it is over


def test_by_name_is_the_same_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here:
        port = here.getsockname()[1]
        tree = {"offline": True, "llm": {"backend": "openai", "base_url": f"http://localhost:{port}/v1"}}
        with guarded(Config.model_validate(tree)):
            socket.create_connection(("localhost", port)).close()


def test_what_must_send_is_refused(make: MakeConfig, tmp_path: Path) -> None:
    for sections, part in (
        ({"engine": "ray"}, "engine: local"),
        ({"data": {"path": "hf://a/b"}}, "download it first"),
        ({"evaluate": {"path": "hf://a/b"}}, "download it first"),
    ):
        with pytest.raises(ConfigError, match=part), guarded(make(tmp_path / "d.csv", offline=True, **sections)):
            pass


def test_a_run_reaches_its_endpoint_alone_and_says_so(make: MakeConfig, tmp_path: Path) -> None:
    async def run() -> str:
        async with ChatServer(answer=lambda body: "Answer: B") as server:
            llm = {"backend": "openai", "base_url": server.url, "model": "m"}
            config = make(write_moods(tmp_path / "d.csv"), llm=llm, offline=True)
            await denoise(config, tmp_path / "run", progress=notes)
            return server.url.removeprefix("http://").removesuffix("/v1")

    notes = Notes()
    place = asyncio.run(run())
    found = RunDir(tmp_path / "run").read_json("provenance.json")["offline"]
    assert set(found["opened"]) == {place}
    assert found["allowed"] == [place]


def test_libraries_are_told_to_keep_quiet() -> None:
    code = f"import robustft, os; print(*[os.environ.get(name) for name in {list(NO_TELEMETRY)}])"
    clean = {name: value for name, value in os.environ.items() if name not in NO_TELEMETRY}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(NO_TELEMETRY.values())


@pytest.mark.skipif(not LOCAL, reason='needs pip install "robustft[local]" and models.txt')
def test_a_model_in_this_process_needs_no_network_at_all(tmp_path: Path) -> None:
    """In a network namespace without any device: what native code would open fails too."""
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    write_moods(tmp_path / "d.csv", n=24)
    config = tmp_path / "c.yaml"
    config.write_text(
        "offline: true\ndata: {path: d.csv}\nllm: {model: smollm2}\nexperts: [probe, likelihood]\n"
        "ledger: l.sqlite\ntask: {instruction: Which mood is it}\n",
        encoding="utf-8",
    )
    command = [*alone, sys.executable, "-m", "robustft", "run", str(config), "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = RunDir(tmp_path / "run").read_json("provenance.json")["offline"]
    assert found == {"allowed": [], "opened": {}, "refused": {}}
