"""`ddb`, the command line: it speaks HTTP to the nodes, through `ddbd.client`, and knows nothing else of them.

A command is a module of this package with one click command in it, named in the table of `commands`; it is imported when it is called. What
several of them need:

    frame      the common options, the client, the output and the questions of a command
    output     rows for people and for programs
    progress   how far a long piece of work is
    errors     each error as one line and an exit status
    client     one plain call to a node, repeating nothing, for those that show or measure failures
    local      a cluster of real processes on this machine: start, kill, freeze, wait, end
    writer     a client that writes without a pause and remembers each answer
"""

from __future__ import annotations

from ddbd.cli.commands import main

__all__ = ["main"]
