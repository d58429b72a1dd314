"""Model servers on a cluster's machines: a command each, started with the run and ended with it."""

from __future__ import annotations

import asyncio
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from robustft.config import RayConfig
from robustft.errors import ModelError

LONGEST_START = 3600.0
"""Seconds after which a server that doesn't answer is taken for broken; large models take long to load."""
_LOOK = 0.5

# Whoever dies, by whatever signal, closes the pipe that `cat` reads, and the whole group goes; a server that ends by
# itself ends the shell.
_GUARD = '( "$@" </dev/null; kill $$ ) & cat >/dev/null; trap "" TERM; kill 0; sleep 5; kill -9 0'


class Server:
    """A server that the command starts; {port} in it stands for a free port. It ends with this object's process."""

    def __init__(self, command: str, log: Path) -> None:
        self.port, self.log = _free_port(), log
        words = shlex.split(command.replace("{port}", str(self.port)))
        with log.open("wb") as told:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                ["/bin/sh", "-c", _GUARD, "sh", *words],
                stdin=subprocess.PIPE,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def address(self, hosts: Sequence[str] = ("127.0.0.1",)) -> str:
        """Return the address under which it answers, once it does; `hosts`: this machine's names, best first.

        Raises ModelError where it ends, or doesn't answer within LONGEST_START.
        """
        until = time.monotonic() + LONGEST_START
        while self._process.poll() is None and time.monotonic() < until:
            for host in hosts:
                address = f"http://{host}:{self.port}/v1"
                if _answers(f"{address}/models"):
                    return address
            time.sleep(_LOOK)
        how = "doesn't answer" if self._process.poll() is None else "has ended"
        raise ModelError(f"ray.serve: the server {how}; {self.log} holds what it said", fatal=True)

    def end(self) -> None:
        """End the server, and whatever it has started."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Served(Server):
    """A server in an actor of Ray's."""

    def reachable(self) -> tuple[str, str]:
        """Return its address and '', or '' and what went wrong."""
        import ray

        try:
            return self.address((ray.util.get_node_ip_address(), "127.0.0.1")), ""
        except ModelError as error:
            return "", str(error)


class Servers:
    """As many servers as there is room for, each on the processors and GPUs of a worker; started when first asked for.

    What they say goes to files in `folder`.
    """

    def __init__(self, settings: RayConfig, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._actors: list[Any] = []

    async def addresses(self, count: int) -> list[str]:
        """Return where they answer; `count` are started where none are there. Raises ModelError."""
        import ray

        if not self._actors:
            self._folder.mkdir(parents=True, exist_ok=True)
            server = ray.remote(Served).options(num_cpus=self._settings.cpus, num_gpus=self._settings.gpus)
            logs = [self._folder / f"{number}.log" for number in range(count)]
            self._actors = [server.remote(self._settings.serve, log) for log in logs]
        found = await asyncio.gather(*(actor.reachable.remote() for actor in self._actors))
        for _, error in found:
            if error:
                raise ModelError(error, fatal=True)
        return [address for address, _ in found]

    async def end(self) -> None:
        """End them; whoever asks for their addresses later starts others."""
        import ray

        await asyncio.gather(*(actor.end.remote() for actor in self._actors))
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310 - an address of our own
            return True
    except HTTPError:
        return True  # it wants a key, say: whoever asks it has that
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port
