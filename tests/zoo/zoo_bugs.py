"""The bug zoo: every bug of the catalogue that can exist here, and the corners that the design decides, by name.

What the product has no trace of is planted whole: a lease for reads (15), a membership that is changed in one step (16).
Users (25) do not exist yet: there it is the schema that one node sees in another way.
"""

from __future__ import annotations

import zoo_elsewhere
import zoo_members
import zoo_state
import zoo_votes
from zoo_kinds import Absent, Bug

_ALL = (*zoo_votes.BUGS, *zoo_members.BUGS, *zoo_state.BUGS, *zoo_elsewhere.BUGS)


def _place(bug: Bug) -> int:
    return int(bug.name) if bug.name.isdecimal() else 1_000


BUGS: dict[str, Bug] = {bug.name: bug for bug in sorted(_ALL, key=_place)}  # the catalogue's in its order, then the corners
ABSENT: tuple[Absent, ...] = ()
