"""Print the lowest versions that pyproject.toml allows of the core's dependencies, as constraints: `make lowest`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest() -> list[str]:
    """Return `name==version` for each direct dependency of the core."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return [line.replace(">=", "==") for line in project["dependencies"]]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest()) + "\n")
