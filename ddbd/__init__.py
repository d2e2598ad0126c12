"""ddbd: a replicated table store that you can curl."""

__version__ = "0.1.0"
