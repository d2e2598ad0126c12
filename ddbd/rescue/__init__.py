"""What is done to a data directory while no node runs on it: looking through it (`check`), and going on after a lost quorum (`recover`).

    frozen    reading a directory without changing a byte of it
    look      what a directory holds: identity, log, tables, and everything that is wrong with them
    check     all that as a list of findings; the tables' hash is made again from the log where the log reaches back
    plan      which of several directories knows most, what may be lost at most, and why not where it must not be done
    recover   the one step that changes something, made so that a power cut at any moment leaves it to be finished

Nobody but the command line imports this room, and no node runs it.
"""
