"""Run every benchmark: ``python -m benchmarks``, or ``make bench``."""

from benchmarks import (
    auditable,
    contamination,
    databases,
    loading,
    mint,
    preparing,
    streaming,
    synthetic,
    training,
)

PARTS = (
    synthetic,
    databases,
    contamination,
    preparing,
    loading,
    streaming,
    training,
    auditable,
    mint,
)

for part in PARTS:
    print(f"\n{part.__doc__.splitlines()[0]}", flush=True)
    part.main()
