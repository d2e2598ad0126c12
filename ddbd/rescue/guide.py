"""A recovery as the command line goes through it: look, say, ask, act. The directories are locked from the first look to the last step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ddbd.config import Limits, load_config
from ddbd.rescue.check import check
from ddbd.rescue.frozen import Held
from ddbd.rescue.look import BAD, Finding, Seen, look
from ddbd.rescue.plan import Plan, best_of, losses, node_of, plan_for, row
from ddbd.rescue.recover import carry_out
from ddbd.storage.disk import Disk


def check_with(path: Path, config: Path | None) -> list[Finding]:
    """Raises ConfigError."""
    return check(path, Limits() if config is None else load_config(config).limits)


def is_bad(findings: Sequence[Finding]) -> bool:
    return any(finding.level == BAD for finding in findings)


class Recovery:
    """Used by `with`: nothing can start on the directories meanwhile. Everything raises ConfigError for what must not be done."""

    def __init__(self, config: Path, paths: Sequence[Path], new_id: str) -> None:
        self._config = load_config(config)
        self._paths = [path.absolute() for path in paths]
        self._new_id = new_id
        self._locks = ExitStack()
        self.found: list[Seen] = []

    def __enter__(self) -> Recovery:
        with ExitStack() as locks:
            for path in self._paths:
                locks.enter_context(Held(path))
            self._locks = locks.pop_all()
        self.found = [look(path) for path in self._paths]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._locks.close()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What each directory has."""
        return [row(seen) for seen in self.found]

    def best(self) -> Seen:
        return best_of(self._config, self.found)

    def plan(self) -> Plan:
        return plan_for(self._config, self.best(), self._new_id)

    def sentences(self) -> list[str]:
        """What may be lost, and what is going to be done."""
        best, plan = self.best(), self.plan()
        others = [node_id for node_id in self._config.node_ids if node_id != plan.node_id]
        said = losses(best, self.found)
        if best.is_recovering:
            said.append("a recovery was begun here before, and is gone on with")
        said.append(
            f"to be done: node {plan.node_id} goes on alone from {best.path}, as cluster {plan.cluster_id}; "
            f"the other nodes ({', '.join(others) or 'none'}) join it with empty directories, and get their votes back"
        )
        fenced = [str(seen.path) for seen in self.found if seen is not best]
        if fenced:
            said.append(f"fenced for good, and kept: {', '.join(fenced)}")
        return said

    def carry_out(self, disk: Disk | None = None) -> Plan:
        """Raises Corrupt, StorageFailed."""
        best, plan = self.best(), self.plan()
        assert best.identity is not None, f"node {node_of(best)} was chosen without an identity"
        others = [seen.path for seen in self.found if seen is not best]
        carry_out(plan, best.path, best.identity, others, self._config.limits, disk)
        return plan
