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
from mint_utils import workers

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

workers.keep_memory()
for part in PARTS:
    print(f"\n{part.__doc__.splitlines()[0]}", flush=True)
    part.main()
