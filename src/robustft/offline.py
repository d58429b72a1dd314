"""Who this process may speak to: with `offline: true` nobody but the endpoints that the config names.

Python tells an audit hook of every connection before it is made, also of those that libraries make in Python code. What
a library does in native code is not seen here: such libraries are told by their environment variables.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from robustft.config import Config
from robustft.errors import ConfigError
from robustft.llm.openai.address import base_url, proxy

NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_ERROR_REPORTING": "false",
}
"""What libraries look for; set when robustft is imported, unless you have set them."""
STAY_HERE = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""What keeps libraries on this machine."""

_SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOKING_UP: Mapping[str, Callable[[tuple[Any, ...]], tuple[Any, Any]]] = {
    "socket.getaddrinfo": lambda args: (args[0], args[1]),
    "socket.gethostbyname": lambda args: (args[0], None),
    "socket.gethostbyaddr": lambda args: (args[0], None),
    "socket.getnameinfo": lambda args: (args[0][0], args[0][1]),
}
"""Asking a name server tells it the name; where each event keeps host and port."""

Place = tuple[str, int]
"""A host, by name or number, and a port."""


class OfflineError(ConnectionError):
    """A connection that `offline: true` forbids."""


@dataclass
class Guard:
    """The places that may be reached, and what was tried: connections by place."""

    allowed: frozenset[Place]
    opened: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def facts(self) -> dict[str, Any]:
        """Return what was tried, as provenance.json holds it."""
        named = sorted(f"{host}:{port}" for host, port in self.allowed)
        return {"allowed": named, "opened": dict(self.opened), "refused": dict(self.refused)}


_guards: list[Guard] = []
_hooked: list[bool] = []


@contextmanager
def guarded(config: Config) -> Iterator[Guard | None]:
    """Forbid every connection but to the config's endpoints, where it says `offline: true`. Raises ConfigError."""
    if not config.offline:
        yield None
        return
    _refuse_senders(config)
    guard = Guard(frozenset(_places(config)))
    os.environ.update(STAY_HERE)
    if not _hooked:
        sys.addaudithook(_heard)  # there is no way to take one off: it stays, and heeds the guards that there are
        _hooked.append(True)
    _guards.append(guard)
    try:
        yield guard
    finally:
        _guards.remove(guard)


def _refuse_senders(config: Config) -> None:
    if config.engine != "local":
        raise ConfigError("offline: a Ray cluster's processes speak to each other; set engine: local")
    for key, path in (("data.path", config.data.path), ("evaluate.path", config.evaluate and config.evaluate.path)):
        if path is not None and "://" in path:
            raise ConfigError(f"{key}: {path} is not on this machine, and offline is set; download it first")


def _places(config: Config) -> Iterator[Place]:
    """Yield where the config's endpoints are, by name and by every number that the name has now."""
    models = [config.llm, *([config.evaluate.llm] if config.evaluate and config.evaluate.llm else [])]
    embedders = [name for name in config.embedder if name.startswith("openai:")]
    for llm in models:
        if llm.backend != "openai" and not (llm is config.llm and embedders):
            continue
        if not (address := base_url(llm, default="")):
            continue
        url = URL(proxy(address) or address)
        host, port = str(url.host), int(url.port or 443)
        yield host, port
        try:
            numbers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            continue  # the first call says that it can't be reached
        yield from ((str(place[0]), port) for *_, place in numbers)


def _heard(event: str, args: tuple[Any, ...]) -> None:
    if not _guards or event not in _SENDING | _LOOKING_UP.keys():
        return
    if event in _SENDING:
        if not isinstance(args[1], tuple):
            return  # a socket of this machine's own file system, or one that is connected already
        host, port = args[1][0], args[1][1]
    else:
        host, port = _LOOKING_UP[event](args)
    host = host.decode() if isinstance(host, bytes) else str(host)
    guard = _guards[-1]
    known = any(host == name and str(port) in (str(number), "None", "0") for name, number in guard.allowed)
    if event in _SENDING or not known:
        (guard.opened if known else guard.refused)[f"{host}:{port}"] += 1
    if not known:
        raise OfflineError(f"offline: true: nothing is sent to {host}:{port}")
