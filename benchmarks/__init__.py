"""How fast it is, measured: `python -m benchmarks`. Where the time goes: `python -m benchmarks.profile`."""
