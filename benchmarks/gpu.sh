#!/usr/bin/env bash
# One card for a few minutes: the rate of training, then as much of a profile as the time allows.
#
#   benchmarks/gpu.sh DATA OUT 480 [PROFILE]
#
# DATA is the folder of the databases, OUT gets results.tar, 480 are seconds for the models. Unpacked into
# `artifacts/` elsewhere, results.tar serves the notebooks there: tables and figures need no weights.
set -euo pipefail
data=$1 out=$2 seconds=$3 profile=${4:-faces}
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || echo "no GPU: a rehearsal"
python3 -c 'import mint_utils.run.plan'  # a package that is missing here is told now, not after minutes
python3 -m benchmarks.training --runs 3
python3 -m mint_utils.reproduce --profile "$profile" --data "$data" --within "${seconds}s" --jobs 4 || echo "reproduce ended with $?"  # 3: the time was over
python3 -c 'import sys; from pathlib import Path; from mint_utils import store; store.pack(Path(sys.argv[1]), 2_500_000, ["outcomes"])' "$out/results.tar"
ls -l "$out"
