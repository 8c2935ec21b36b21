"""Programs that use the library. Each runs by itself: ``python -m examples.react_step``."""
