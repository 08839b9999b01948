"""Programs that print ratios side by side; ``python -m benchmarks`` runs them. See ``docs/benchmarks.md``."""
