"""Many rows, cut into batches that are each done whole or not at all. A state machine, used by both forms of the client.

    load = Load(table, ...)
    for row in rows:
        load.add(row, encoded)
        while (call := load.next()) is not None: send it; load.wrote(answer) or load.refused(error)
    load.end(); and the same once more

Each batch is a streaming load of its own, short enough to be one slice, and keyed by the load's key and the batch's number. So a batch that
meets a failover is sent again alone, rows may come from where they can be read only once, and the same rows loaded again under the same key
pass over what is done. Only the cuts must be the same then, and they depend on the rows alone. Memory holds one batch.

A node may cut a batch once more, where a row_id comes again and where a table is wide. A refusal then leaves the rows before it in, and the
node gives it again for as long as it knows the key. So `spent` has each key that was refused, with how many rows were done under it: a load
that goes on is given these, passes over those rows, and sends the rest under another key.

The first row that is refused ends the load, unless somebody takes the refused ones: then such a row is left out, and what is left of its
batch is sent in two halves, with keys made of the batch's. So this too goes the same way when it is repeated, and a batch in which every
row is refused costs one request a row, not a thousand times the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from ddbd.client.calls import Call, Slices, load_rows, new_key
from ddbd.client.errors import BadRequest, InvalidName, KeyReused, Refused, RowExists
from ddbd.client.http import KEY_CHARS_MAX, NDJSON, check_key, to_json
from ddbd.client.values import Loaded

BATCH_ROWS = 1_000  # what nodes take as one slice
BATCH_BYTES = 250_000
KEY_SUFFIX_CHARS = 50  # what batches and halves put behind the load's key

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RefusedRow(Generic[Item]):
    """`number` counts the rows of the load from 1; `item` is what was given for the row."""

    number: int
    item: Item
    error: Refused


@dataclass(slots=True)
class _Part:
    """Some rows of the batch under way, by their places in it."""

    places: Sequence[int]
    key: str


class Spent(NamedTuple):
    """Of a key whose rows were refused: the first `rows` of them are in all the same, and this is what they were."""

    rows: int
    digest: str


class Load(Generic[Item]):
    """`head` stands before the rows of each batch: the first line of CSV. `skip_batches` are known to be done and are not sent.

    `spent` is of the batch behind them."""

    def __init__(
        self,
        table: str,
        *,
        content_type: str = NDJSON,
        head: bytes = b"",
        upsert: bool = False,
        db: str | None = None,
        key: str | None = None,
        skip_batches: int = 0,
        spent: Mapping[str, Spent] | None = None,
        on_refused: Callable[[RefusedRow[Item]], None] | None = None,
    ) -> None:
        """Raises ValueError."""
        self.key = new_key() if key is None else check_key(key)
        if len(self.key) > KEY_CHARS_MAX - KEY_SUFFIX_CHARS:
            raise ValueError(f"the key of a load has at most {KEY_CHARS_MAX - KEY_SUFFIX_CHARS} characters")
        self.blamed: Item | None = None  # the row that ended the load, where the node says which
        self.left: Item | None = None  # the first row of the batch that is not in, when a refusal ended the load
        self.spent: dict[str, Spent] = dict(spent or {})  # keys of the batch under way
        self.rows = 0  # written
        self.batches = 0  # done
        self._request = (table, content_type, upsert, db)
        self._head = head
        self._skip_batches = skip_batches
        self._on_refused = on_refused
        self._digest = hashlib.blake2b(digest_size=16)
        self._index = 0
        self._before = 0  # rows of the batches before this one, refused ones too
        self._items: list[Item] = []
        self._encoded: list[bytes] = []
        self._bytes = 0
        self._overhang: tuple[Item, bytes] | None = None  # a row that begins the next batch
        self._parts: list[_Part] = []  # of the batch under way, the next one last

    def add(self, item: Item, encoded: bytes) -> None:
        """`encoded` is the row with its line's end. Raises KeyReused where rows that are in are no longer the same."""
        assert not self._parts, "the batch that is full has to be sent first"
        self._put(item, encoded)

    def _put(self, item: Item, encoded: bytes) -> None:
        if self._items and self._bytes + len(encoded) > BATCH_BYTES:
            self._overhang = (item, encoded)
            self._close()
            return
        self._items.append(item)
        self._encoded.append(encoded)
        self._bytes += len(encoded)
        if len(self._items) == BATCH_ROWS:
            self._close()

    def end(self) -> None:
        """No more rows come. Raises KeyReused."""
        if self._items and not self._parts:
            self._close()

    def _close(self) -> None:
        self._parts = [self._part(range(len(self._items)), f"{self.key}.{self.batches}")]

    def _part(self, places: Sequence[int], key: str) -> _Part:
        """What of these rows is still to be sent, under a key that is not spent."""
        name, turn = key, 0
        while (spent := self.spent.get(name)) is not None:
            if self._spent(places, spent.rows) != spent:
                raise KeyReused("the rows that are in already were changed since")
            self.rows += spent.rows
            places = places[spent.rows :]
            turn += 1
            name = f"{key}~{turn}"
        return _Part(places, name)

    def _spent(self, places: Sequence[int], rows: int) -> Spent:
        done = [self._encoded[place] for place in places[:rows]]
        return Spent(len(done), hashlib.blake2b(b"".join(done), digest_size=16).hexdigest())

    def next(self) -> Call[Slices] | None:
        """The next call to send; None when more rows are needed."""
        while self._parts and self.batches < self._skip_batches:
            self.rows += len(self._items)
            self._closed([])
        while self._parts and not self._parts[-1].places:
            self._closed([])
        if not self._parts:
            return None
        part = self._parts[-1]
        body = self._head + b"".join([self._encoded[place] for place in part.places])
        return load_rows(*self._request, body, part.key)

    def wrote(self, slices: Slices) -> None:
        self.rows += len(self._parts[-1].places)
        self._index = max(self._index, slices.index)
        self._closed([])

    def refused(self, error: Refused) -> None:
        """Raises the error again when the load must end, with its place in the whole load in `more`."""
        part = self._parts[-1]
        done = int(error.more.get("rows", 0))  # of this part: a row_id that comes twice makes a slice more
        row = 1 if len(part.places) == 1 else int(error.more.get("row", 0))
        self.rows += done
        about_a_row = isinstance(error, RowExists | BadRequest) and not isinstance(error, InvalidName)
        if self._on_refused is None or not about_a_row or not 0 <= row <= len(part.places):
            if "first_row" in error.more and not isinstance(error, KeyReused):
                # So says the table itself; it will say the same each time. What a node refuses at its door spends no key.
                self.spent[part.key] = self._spent(part.places, done)
            raise self._placed(error, part, row, done)
        left = list(part.places[done:])
        if row:
            place = part.places[row - 1]
            left.remove(place)
            self._on_refused(RefusedRow(self._before + place + 1, self._items[place], error))
        middle = (len(left) + 1) // 2
        halves = [self._part(left[middle:], f"{part.key}b"), self._part(left[:middle], f"{part.key}a")]
        self._closed([half for half in halves if half.places])

    def _placed(self, error: Refused, part: _Part, row: int, done: int) -> Refused:
        error.more.update(rows=self.rows, batches=self.batches)
        self.left = self._items[part.places[min(done, len(part.places) - 1)]]
        if 1 <= row <= len(part.places):
            self.blamed = self._items[part.places[row - 1]]
        for name in ("row", "first_row", "last_row"):
            within = row if name == "row" else int(error.more.get(name, 0))
            if 1 <= within <= len(part.places):
                error.more[name] = self._before + part.places[within - 1] + 1
        return error

    def _closed(self, in_its_place: list[_Part]) -> None:
        self._parts[-1:] = in_its_place
        if self._parts:
            return
        if self.batches >= self._skip_batches:
            self.spent.clear()
        self._before += len(self._items)
        self.batches += 1
        for encoded in self._encoded:
            self._digest.update(encoded)
        self._items, self._encoded, self._bytes = [], [], 0
        if self._overhang is not None:
            (item, encoded), self._overhang = self._overhang, None
            self._put(item, encoded)

    @property
    def digest(self) -> str:
        """Of the rows of all batches that are done: are they still the same when the load is repeated?"""
        return self._digest.hexdigest()

    def result(self) -> Loaded:
        return Loaded(self.rows, self.batches, self._index, self.key)


def line_of(row: Mapping[str, Any]) -> bytes:
    """A flat row as a line of JSON. Raises ValueError, TypeError."""
    return to_json(row) + b"\n"
