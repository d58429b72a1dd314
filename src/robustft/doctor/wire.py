"""Bare requests to an endpoint: what came back and how fast, or in plain words why nothing did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from yarl import URL

from robustft.config import LLMConfig
from robustft.llm.openai.address import api_key, base_url, proxy
from robustft.llm.openai.pauses import retry_after
from robustft.llm.openai.payloads import parse, passes, reason

_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_CONNECT_SECONDS = 15.0


class ProbeError(Exception):
    """A probe that was not answered: what was `seen`, and the `way_out`. `gone`: nothing else will be answered."""

    def __init__(self, seen: str, way_out: str, *, gone: bool = False) -> None:
        super().__init__(seen)
        self.seen, self.way_out, self.gone = seen, way_out, gone


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: `json` is None where it isn't JSON, `said` what an error says, `seconds` from send to last byte.

    An error that comes with status 200 has the status that its body names, else 500.
    """

    status: int
    headers: Mapping[str, str]
    payload: bytes
    json: Any
    said: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it is JSON and no error."""
        return 200 <= self.status < 300 and self.json is not None


class Wire:
    """A connection to the config's endpoint, with its key, which is in nothing that comes out of here.

    Counts the requests, and keeps the last rate limits that were sent. Raises ConfigError where there is no usable
    address or key.
    """

    def __init__(self, config: LLMConfig) -> None:
        self.base_url = base_url(config)
        self.requests, self.busy = 0, 0
        self.limits: dict[str, str] = {}
        self.key_env, self._key = config.api_key_env, api_key(config.api_key_env)
        self._timeout = config.timeout
        self._session: aiohttp.ClientSession | None = None

    @property
    def has_key(self) -> bool:
        """Whether a key is sent."""
        return self._key is not None

    async def get(self, url: str) -> Reply:
        """Ask for an address. Raises ProbeError where nothing comes back."""
        return await self._once("GET", url, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Send JSON below the endpoint's address, once more where the failure may pass. Raises ProbeError."""
        url, data = self.base_url + path, orjson.dumps(body)
        reply = await self._once("POST", url, data)
        if passes(reply.status) or reply.json is None:
            wanted = retry_after(reply.headers.get("Retry-After"), datetime.now(UTC))
            await asyncio.sleep(min(_PAUSE if wanted is None else wanted, _LONGEST_PAUSE))
            reply = await self._once("POST", url, data)
        return reply

    def show(self, text: object, width: int = 60) -> str:
        """Return what a server wrote as one short line without the key."""
        # the key goes before the cut, else a part of it could stay
        line = " ".join(self._clean(str(text)).split())
        return line if len(line) <= width else line[: width - 1] + "…"

    async def aclose(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def _once(self, method: str, url: str, data: bytes | None) -> Reply:
        self.requests += 1
        start = time.perf_counter()
        try:
            async with self._open_session().request(
                method, url, data=data, proxy=proxy(url), allow_redirects=False
            ) as response:
                payload = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_answer(URL(url), error) from None
        seconds = time.perf_counter() - start
        self.busy += response.status in (429, 503)
        self.limits |= {
            name.lower(): self.show(value, 30)
            for name, value in response.headers.items()
            if "ratelimit" in name.lower() or name.lower() == "retry-after"
        }
        return self._read(response.status, response.headers, payload, seconds)

    def _read(self, status: int, headers: Mapping[str, str], payload: bytes, seconds: float) -> Reply:
        try:
            json = parse(payload)
        except (ValueError, RecursionError):
            json = None
        if 200 <= status < 300 and isinstance(json, dict) and isinstance(error := json.get("error"), dict):
            code = error.get("code")
            status = code if isinstance(code, int) else 500
        return Reply(status, headers, payload, json, self.show(reason(payload), 200), seconds)

    def _no_answer(self, url: URL, error: Exception) -> ProbeError:
        """Name what stands in the way of any answer, and the way out."""
        place = f"{url.host}:{url.port}"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return ProbeError(
                f"no host {url.host} is known", "check the name in llm.base_url, and the network", gone=True
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            way_out = "mend the certificate, or name your own authority's in SSL_CERT_FILE"
            return ProbeError(f"the certificate of {url.host} can't be trusted", way_out, gone=True)
        if isinstance(error, aiohttp.ClientSSLError):
            return ProbeError(
                f"{place} speaks no TLS", "write http:// in llm.base_url, if that is what it speaks", gone=True
            )
        if isinstance(error, TimeoutError):
            way_out = "is it overloaded, or still loading? else raise llm.timeout"
            return ProbeError(f"no answer within {self._timeout:g} s", way_out)
        if isinstance(error, aiohttp.ClientConnectorError):
            said = error.strerror or str(error.os_error)
            way_out = "start the server, or mend host and port in llm.base_url"
            return ProbeError(f"can't connect to {place}: {self.show(said)}", way_out, gone=True)
        way_out = "look at the server's log; does it want https:// in llm.base_url?"
        return ProbeError(f"the connection broke ({type(error).__name__})", way_out)

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(self._timeout, _CONNECT_SECONDS)),
                headers={"Authorization": f"Bearer {self._key or 'EMPTY'}", "Content-Type": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
