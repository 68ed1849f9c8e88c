"""Benchmarks, each beside its baseline: `invoke bench` measures and writes docs/performance.md. They are no tests."""
