"""Run every benchmark: ``python -m benchmarks``, or ``make bench``."""

from benchmarks import auditable, databases, loading, mint, preparing, synthetic, training

for part in (synthetic, databases, preparing, loading, training, auditable, mint):
    print(f"\n{part.__doc__.splitlines()[0]}", flush=True)
    part.main()
