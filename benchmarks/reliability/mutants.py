"""How many small changes of the code that decides make a test fail, by module: what `mutmut run` found.

    make mutants

Which modules and which tests is in pyproject.toml, `tool.mutmut`. A change that nothing notices is shown by
`mutmut show NAME`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from benchmarks.quality.page import rewrite

FOUND = Path("mutants")
WANTED = 0.85
SURVIVED, UNREACHED = {0}, {5, 33}


def outcomes(folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Yield each module with its changes by outcome: killed, survived, or not reached by any test."""
    for path in sorted(folder.rglob("*.meta")):
        codes: Mapping[str, int | None] = orjson.loads(path.read_bytes())["exit_code_by_key"]
        if codes:
            yield (
                path.relative_to(folder / "src").as_posix().removesuffix(".meta"),
                Counter(map(_outcome, codes.values())),
            )


def _outcome(code: int | None) -> str:
    if code is None:
        return "not tried"
    return "survived" if code in SURVIVED else "unreached" if code in UNREACHED else "killed"


def table(found: Mapping[str, Counter[str]]) -> str:
    """Return the outcomes as Markdown, with the sum at the end."""
    every = sum(found.values(), Counter[str]())
    lines = ["| module | changes | noticed | share |", "|---|---|---|---|"]
    for name, of in [*found.items(), ("**all**", every)]:
        lines.append(f"| {name} | {of.total():,} | {of['killed']:,} | {share(of):.1%} |")
    return "\n".join(lines)


def share(of: Counter[str]) -> float:
    """Return the share of the changes that a test noticed."""
    return of["killed"] / of.total()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write the page's section; returns 1 where too few were noticed, or some not tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="rewrite its section 'mutants'")
    said = parser.parse_args(arguments)
    found = dict(outcomes(FOUND))
    if not found:
        sys.stderr.write(f"{FOUND}: nothing there; run `make mutants`\n")
        return 2
    text = table(found)
    sys.stdout.write(f"{text}\n")
    if said.page:
        rewrite(said.page, "mutants", text)
    every = sum(found.values(), Counter[str]())
    return int(every["not tried"] > 0 or share(every) < WANTED)


if __name__ == "__main__":
    raise SystemExit(main())
