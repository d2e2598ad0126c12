"""What twistd loads of this package: the options, and a maker that imports the daemon only when one is made.

The daemon is some four hundred modules, and what they bring lives as long as the process. Python's own thresholds have the collector of
rubbish look through it a hundred times while they are imported (measured: 29 to 47 ms of some 240), so it rests until they are there. And
who asks for `--help`, or mistypes an option, does not wait for them at all.
"""

from __future__ import annotations

import gc

from twisted.application.service import IService

from ddbd.options import Options

__all__ = ["Options", "makeService"]

# One row of nested JSON is half a million lists that all live: with Python's own thresholds (700, 10, 10) most of the time that it takes to
# read it goes into looking for rubbish among them (0.35 s instead of 0.1 s, on every node), and the election timeout is not far then.
GC_THRESHOLDS = (50_000, 20, 20)


def makeService(options: Options) -> IService:
    """See `tap.makeService`."""
    gc.disable()
    try:
        from ddbd import tap

        calm_collector()
    finally:
        gc.enable()
    return tap.makeService(options)


def calm_collector() -> None:
    """For the whole process: what is imported stays, and new lists are not looked through while a large value is read."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
