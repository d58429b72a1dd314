"""Where an endpoint is and with which key it is asked: from the config and the environment."""

from __future__ import annotations

import os
import urllib.request

from yarl import URL

from robustft.config import LLMConfig
from robustft.errors import ConfigError


def base_url(config: LLMConfig, default: str | None = None) -> str:
    """Return the endpoint's address, with no slash at its end, or the default where none is named.

    Raises ConfigError for none, or what is none.
    """
    given = config.base_url or os.environ.get("OPENAI_BASE_URL")
    if not given and default is not None:
        return default
    if not given:
        raise ConfigError("llm.base_url: not set, nor is OPENAI_BASE_URL; e.g. http://127.0.0.1:8000/v1")
    url = URL(given.strip().rstrip("/"))
    if url.user or url.password or url.query_string or url.fragment:
        raise ConfigError("llm.base_url: must hold no user, password, ? or #; the key belongs into the environment")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"llm.base_url: '{given}' is no address such as http://127.0.0.1:8000/v1")
    return str(url)


def api_key(variable: str) -> str | None:
    """Return the key that the environment variable holds, None where it holds none. Raises ConfigError."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{variable}: holds characters that no key has; set it again")
    return key or None


def proxy(address: str) -> str | None:
    """Return the proxy that the environment names for an address."""
    # once here: aiohttp's trust_env looks into the environment and ~/.netrc at every request
    url = URL(address)
    named = urllib.request.getproxies().get(url.scheme)
    return named if named and not urllib.request.proxy_bypass(url.host or "") else None
