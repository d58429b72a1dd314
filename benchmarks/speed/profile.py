"""Where the processor time of a command goes, by package: py-spy's samples, counted.

    python -m benchmarks.speed.profile -- python -m benchmarks.scale.rows --rows 20000 --out OUT

Samples are taken of the command and all that it starts, only while they work (not while they wait). `own`: the
innermost Python function is of that package, work done in C on its behalf included; `within`: one of the functions on
the stack is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

_RATE = 200
_SHOWN = 14


def packages(stack: str) -> list[str]:
    """Return the package of each of a stack's functions, outermost first; our own are told apart by folder."""
    return [_package(frame.partition("(")[2].rpartition(":")[0]) for frame in stack.split(";") if ".py" in frame]


def _package(file: str) -> str:
    parts = Path(file).parts
    if "robustft" in parts:
        inner = parts[len(parts) - parts[::-1].index("robustft") :]
        return f"robustft/{inner[0].removesuffix('.py')}" if inner else "robustft"
    for place in ("site-packages", "benchmarks"):
        if place in parts:
            return parts[parts.index(place) + (place == "site-packages")]
    return parts[0].removesuffix(".py") if parts else "?"


def counted(lines: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Count py-spy's raw lines, `frame;frame;frame count`; returns own and within counts, and the sum."""
    own, within, total = Counter[str](), Counter[str](), 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found = packages(stack)
        if found:
            total += int(count)
            own[found[-1]] += int(count)
            for name in set(found):
                within[name] += int(count)
    return own, within, total


def main(arguments: Sequence[str]) -> int:
    """Print a Markdown table. Returns the command's exit code."""
    command = [*arguments[arguments.index("--") + 1 :]] if "--" in arguments else []
    if not command:
        sys.stderr.write("usage: python -m benchmarks.speed.profile -- COMMAND\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stacks.txt"
        spy = ["py-spy", "record", "--subprocesses", "--rate", str(_RATE), "--format", "raw", "--output", str(file)]
        done = subprocess.run([*spy, "--", *command], stdout=sys.stderr, check=False)  # noqa: S603 - the user's own
        own, within, total = counted(file.read_text(encoding="utf-8").splitlines())
    lines = [f"`{' '.join(command)}`: {total / _RATE:.0f} s of work sampled", "", "| package | own | within |"]
    lines += ["|---|---|---|"]
    lines += [
        f"| {name} | {count / total:.1%} | {within[name] / total:.1%} |" for name, count in own.most_common(_SHOWN)
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
