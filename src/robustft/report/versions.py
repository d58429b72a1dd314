"""Which versions made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "pydantic",
    "aiohttp",
    "torch",
    "transformers",
    "peft",
    "trl",
    "sentence-transformers",
    "ray",
    "faiss-cpu",
)
"""Those that decide what comes out."""


def versions() -> dict[str, str]:
    """Return the versions of Python, robustft and the libraries that are installed."""
    found = {"python": platform.python_version(), "robustft": version("robustft")}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
