"""Run every benchmark: ``python -m benchmarks``, or ``make bench``."""

from benchmarks import auditable, contamination, databases, loading, mint, synthetic, training

for part in (synthetic, databases, contamination, loading, training, auditable, mint):
    print(f"\n{part.__doc__.splitlines()[0]}", flush=True)
    part.main()
