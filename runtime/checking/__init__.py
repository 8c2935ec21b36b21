"""The invariants of a runtime, each recomputed from what can be seen of it from outside.

`runtime.invariants` is what a user imports. Here are its parts: what a violation is, the model of
when a group has to decide, and the checks of groups, executions, waits, limits and states.
"""
