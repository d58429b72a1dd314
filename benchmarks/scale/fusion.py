"""Time and memory of the fusion alone: fitted, judged and applied to simulated rows, on one core.

python -m benchmarks.scale.fusion --rows 1000000 --options 4 --views 4
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.quality.machine import machine
from robustft.fusion.evidence import Evidence
from robustft.fusion.identified import findings
from robustft.fusion.posterior import fit, posterior
from robustft.fusion.target import choose, suspects


def simulated(rows: int, options: int, views: int, rate: float = 0.3, seed: int = 0) -> tuple[Evidence, np.ndarray]:
    """Return views that share half of their mistakes and labels wrong at `rate`, and the true options (N,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(options, size=rows)
    label = np.where(rng.random(rows) < rate, (truth + rng.integers(1, options, size=rows)) % options, truth)
    logits = rng.standard_normal((rows, views, options), dtype=np.float32)
    logits += rng.standard_normal((rows, 1, options), dtype=np.float32)
    logits[np.arange(rows), :, truth] += (2.0 + 1.5 * rng.standard_normal((rows, 1))).astype(np.float32)
    return Evidence(logits, label, (0,) * views, shared=False), truth


def main(arguments: Sequence[str]) -> int:
    """Print one Markdown table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="fusion")
    for name, value in (("rows", 1_000_000), ("options", 4), ("views", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    wanted = parser.parse_args(arguments)
    evidence, truth = simulated(wanted.rows, wanted.options, wanted.views)
    began, wall = time.process_time(), time.monotonic()
    with threadpool_limits(1, "blas"):
        fusion = fit(evidence)
        found = findings(evidence, fusion)
        p = posterior(evidence, fusion)
        choice, flags = choose(p, evidence.label, 0.95), suspects(p, evidence.label)
    cpu, wall = time.process_time() - began, time.monotonic() - wall
    # ru_maxrss is in KiB on Linux, in bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    right = float((choice.answer[choice.taken] == truth[choice.taken]).mean())
    sys.stdout.write(
        "| rows | options | views | CPU, s | wall, s | peak memory, MB | noise rate | right, taken | suspects |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        f"| {wanted.rows:,} | {wanted.options} | {wanted.views} | {cpu:.1f} | {wall:.1f} | {peak / 1e6:,.0f} "
        f"| {found.noise_rate.value:.3f} | {right:.3f} | {flags.mean():.3f} |\n\n{machine()}\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
