"""Run every benchmark: ``python -m benchmarks``, or ``make bench``."""

from importlib import import_module

from mint_utils import workers

PARTS = "synthetic databases contamination preparing loading streaming training auditable mint"

workers.keep_memory()
for name in PARTS.split():
    part = import_module(f"benchmarks.{name}")
    print(f"\n{part.__doc__.splitlines()[0]}", flush=True)
    part.main()
