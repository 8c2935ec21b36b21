"""Benchmarks: each file answers one question, with its peers measured beside it in the same run.

``python -m benchmarks.fan_out --children 10000`` runs one of them, ``python -m benchmarks`` (or
``make bench``) all. `benchmarks.measuring` is how they measure, `benchmarks.peers` what they
measure beside.
"""
