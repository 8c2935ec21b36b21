"""Stand-ins for what the standard library blocks with: in a simulation they are switch points.

Installed once, by the import of `runtime.simulation`, and for good. Outside a simulation each does
what it stands for. `patches.install` is the list of what is replaced.
"""
