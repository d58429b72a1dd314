from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustft.engine.servers import Server
from robustft.errors import ModelError

SERVING = Path(__file__).parent / "serving.py"
HOLDER = """
import sys, time
from pathlib import Path
from robustft.engine.servers import Server

print(Server(sys.argv[1], Path(sys.argv[2])).address(), flush=True)
time.sleep(600)
"""


def command(folder: Path) -> str:
    return f"{sys.executable} {SERVING} {{port}} {folder}"


def there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def pid_in(folder: Path) -> int:
    (file,) = folder.glob("*.pid")
    return int(file.read_text())


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 30
    while there(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")


def test_it_answers_and_ends(tmp_path: Path) -> None:
    server = Server(command(tmp_path), tmp_path / "log")
    assert server.address() == f"http://127.0.0.1:{server.port}/v1"
    pid = pid_in(tmp_path)
    assert there(pid)
    server.end()
    assert not there(pid)


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, command(tmp_path), str(tmp_path / "log")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith(b"http://127.0.0.1:")
    pid = pid_in(tmp_path)
    assert there(pid)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    wait_until_gone(pid)


def test_one_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    server = Server("sh -c 'echo no such model; exit 3'", tmp_path / "log")
    with pytest.raises(ModelError, match=r"the server has ended; .*log holds what it said") as raised:
        server.address()
    assert raised.value.fatal
    assert (tmp_path / "log").read_text() == "no such model\n"


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has ended"):
        Server("no-such-command {port}", tmp_path / "log").address()
    assert "no-such-command" in (tmp_path / "log").read_text()
