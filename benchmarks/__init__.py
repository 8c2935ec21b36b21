"""Benchmarks: each file answers one question and prints ratios taken in the same run."""
