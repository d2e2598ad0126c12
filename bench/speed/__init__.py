"""The same work against ddbd and against what its users would pick instead, in turn, in one run. `python -m bench.speed --help`."""
