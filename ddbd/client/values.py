"""What calls give back. Rows are plain dicts, flat, with `row_id` first; integers are exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, overload

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """A row was written. Its version is the index at which it was."""

    row_id: str
    version: int
    index: int


@dataclass(frozen=True, slots=True)
class WrittenMany:
    """All rows of a batch were written, at one index, and share one version."""

    row_ids: list[str]
    version: int
    index: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load came to its end."""

    rows: int
    batches: int
    index: int  # min_index of a read that is to see all of it
    key: str  # repeat the load with it, and what is done is not done again


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row with the version that `if_version` compares."""

    row: Row
    version: int

    @property
    def row_id(self) -> str:
        return str(self.row["row_id"])


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one instant, in order of `row_id`. `after` is where the next page begins, None behind the last one."""

    rows: list[Row]
    after: str | None
    node: str
    term: int
    index: int
    staleness_ms: int | None = None  # of a local read; None also where the node does not know

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        return self.rows[place]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node answered when all were asked; `error` says why it did not."""

    address: str
    seconds: float
    status: dict[str, Any] | None = field(default=None, repr=False)
    ready: bool = False
    error: str | None = None

    @property
    def answers(self) -> bool:
        return self.status is not None
