#!/usr/bin/env bash
# A real LLaMA-Factory trains on what a run has exported, as it is: the proof that the export directory loads.
#
#   scripts/llamafactory.sh [RUN] [STEPS]
#
# RUN      a run directory; where it isn't there yet, 160 rows of the quickstart are cleaned into it (runs/llamafactory)
# STEPS    optimizer steps (20)
# LLAMAFACTORY_CLI   the command, if it isn't `llamafactory-cli` on the PATH; ROBUSTFT likewise (`robustft`)
#
# LLaMA-Factory has an environment of its own, since its libraries are older: pip install llamafactory==0.9.5
set -euo pipefail
run=${1:-runs/llamafactory}
steps=${2:-20}
recipe=$run/export/llamafactory_lora.yaml

if [ ! -e "$recipe" ]; then
  ${ROBUSTFT:-robustft} run "$(dirname "$0")/../examples/quickstart.yaml" -o "$run" --limit 160
fi
# on the command line only what makes it short; everything else is in the file
${LLAMAFACTORY_CLI:-llamafactory-cli} train "$recipe" max_steps="$steps"
echo "adapter: $run/llamafactory"
ls -l "$run/llamafactory/adapter_model.safetensors"
