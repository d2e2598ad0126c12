"""What a request must be before anything looks at it: the checks that belong to every channel, whatever parses its bytes.

A channel hands in the head when it is complete, before the body. The door refuses, or says what to do with the body. It keeps no state
and touches no connection; framing (Content-Length, Transfer-Encoding, deadlines) is the channel's own matter.

Why a Host must be ours: a page that a browser loaded from elsewhere can have its name point at 127.0.0.1 (DNS rebinding), and is of the
same origin as this node then; only the Host still tells. Why an Origin must be ours on writes: any page may post to localhost without
asking first, as long as it does not need the answer. A read whose making costs this node much (a backup, a feed) asks for it too, in its
own handler (`check_origin`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from ddbd.config import Config, Node
from ddbd.errors import Refused

NONE: tuple[bytes, ...] = ()
READS = (b"GET", b"HEAD", b"OPTIONS")
LOAD_PATH = b"/insert"
RESTORE_PATH = b"/restore"
LOAD_TYPES = (b"application/x-ndjson", b"text/csv")

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_PLAIN = re.compile(rb"/(?!/)[\x21\x22\x24\x26-\x7e]*")  # nothing to look at twice: no %, no #
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)", re.DOTALL)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_VISIBLE = re.compile(rb"[^\x21-\x7e]|#")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Fields(dict[bytes, list[bytes]]):
    """Of a request's head: all values of each, in order, by the name in lower case."""

    def getRawHeaders(self, name: bytes, default: Any = None) -> Any:
        """As twisted.web's Headers have it."""
        return self.get(name.lower(), default)


class Head(NamedTuple):
    method: bytes
    target: bytes
    version: bytes  # b"HTTP/1.1" or b"HTTP/1.0"
    fields: Fields


class Kind(Enum):
    CALL = "call"  # the body is kept up to its limit, then the call runs
    LOAD = "load"  # the call runs at once and reads the body as it arrives
    MOUNTED = "mounted"  # belongs to a resource of another room


CALL, LOAD, MOUNTED = Kind  # as in `channel`: looked up for each request


class Admission(NamedTuple):
    target: bytes  # path and query, without scheme and authority
    path: bytes
    kind: Kind
    body_bytes_max: int | None  # None: no limit of the whole
    expects_continue: bool


class Door:
    """`mounted` are the first path segments that belong to other rooms: only the Host is checked for them."""

    def __init__(self, config: Config, node: Node, mounted: Collection[bytes] = ()) -> None:
        self._limits = config.limits
        self._port = b"%d" % node.port
        self._names = {b"localhost", _bare(node.host.encode()), *(_bare(host.encode()) for host in config.hosts if not _has_port(host))}
        self._names_with_port = {host.encode().lower() for host in config.hosts if _has_port(host)}
        self._known: set[bytes] = set()  # whole Host values that passed before; few, as all of them are ours
        self._mounted = frozenset(mounted)

    def again(self, config: Config, node: Node) -> Door:
        """The door by another config."""
        return Door(config, node, self._mounted)

    def admit(self, head: Head, content_length: int | None) -> Admission:
        """Raises Refused with the code that says why. `content_length` is None for a chunked body."""
        host = self._check_host(head)
        target = self._check_target(head.target, host)
        if target == b"*" and head.method != b"OPTIONS":
            raise Refused("not_found", "* is for OPTIONS alone; name a path, as in /status")
        expects = _expects_continue(head)
        path = target.partition(b"?")[0]
        kind = self._kind(head, path)
        bytes_max: int | None = self._limits.message_bytes_max
        if kind is not MOUNTED:
            if head.method not in READS:
                check_origin(head.fields)
            _check_encoding(head)
            bytes_max = None if kind is LOAD else self._limits.body_bytes_max
        if bytes_max is not None and content_length is not None and content_length > bytes_max:
            raise too_large(bytes_max)
        return Admission(target, path, kind, bytes_max, expects)

    def _kind(self, head: Head, path: bytes) -> Kind:
        if path[1:].partition(b"/")[0] in self._mounted:
            return MOUNTED
        if head.method != b"POST":
            return CALL
        is_load = path == LOAD_PATH and load_type(head.fields.get(b"content-type", NONE)) is not None
        return LOAD if is_load or path == RESTORE_PATH else CALL

    def _check_host(self, head: Head) -> bytes:
        hosts = head.fields.get(b"host", NONE)
        if len(hosts) != 1:
            how = "no Host" if not hosts else f"{len(hosts)} Hosts"
            raise Refused("bad_request", f"the request has {how}; name this node once")
        if hosts[0] not in self._known:
            self._check_authority(hosts[0])
            if len(self._known) < 100:
                self._known.add(hosts[0])
        return hosts[0]

    def _check_authority(self, authority: bytes) -> None:
        match = _HOST.fullmatch(authority)
        if match is None:
            raise Refused("bad_request", "Host is no name with a port; name this node, as in localhost:8080")
        name, port = _bare(match[1]), match[2]
        if authority.lower() in self._names_with_port:
            return
        if (name in self._names or _is_loopback(name)) and port in (None, self._port):
            return
        shown = authority[:80].decode("ascii")
        raise Refused("misdirected", f"this node is not {shown}; use its address, localhost, or a name listed in the config under hosts")

    def _check_target(self, target: bytes, host: bytes) -> bytes:
        """The absolute form must be understood (RFC 9112, 3.2.2), but may name nobody else than the Host does."""
        if _PLAIN.fullmatch(target):
            return target
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            if absolute[1].lower() != host.lower():
                raise Refused("bad_request", "the request target names another host than Host does; name this node in both")
            target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        if target == b"*":
            return target
        if not target.startswith(b"/") or _NOT_VISIBLE.search(target) or _BAD_ESCAPE.search(target):
            raise Refused("bad_request", "the request target is no path with a query; escape what is no visible ASCII as %XX")
        path = unquote_to_bytes(target.partition(b"?")[0]) if b"%" in target else target
        if b"%" in target and (_CONTROL.search(path) or not _is_utf8(path)):
            raise Refused("bad_request", "the path holds a control character or is not UTF-8; no path of this node does")
        if path.startswith(b"//"):
            # The router would drop a slash: then the rel="next" of `//select` names a host called select, and `//insert` is no load.
            raise Refused("not_found", "the path begins with two slashes; begin it with one")
        return target


def load_type(types: Sequence[bytes]) -> bytes | None:
    """The format of a streaming load, by the values of Content-Type; None for any other, which means JSON."""
    kind = types[0].partition(b";")[0].strip().lower() if types else b""
    return kind if kind in LOAD_TYPES else None


def too_large(bytes_max: int) -> Refused:
    return Refused("body_too_large", f"the body is larger than {bytes_max} bytes; send less at once, or use the streaming load")


def check_origin(fields: Any) -> None:
    """For writes, and for reads that cost much. A browser sends these two fields; nobody else has to. The Host is one that was let in."""
    get = fields.getRawHeaders
    if any(site.lower() not in (b"same-origin", b"none") for site in get(b"sec-fetch-site", NONE)):
        raise Refused("cross_origin", "a page of another origin may not do this; call from this node's own pages, or from no browser")
    for origin in get(b"origin", NONE):
        scheme, _, authority = origin.lower().partition(b"://")
        if scheme not in (b"http", b"https") or authority != get(b"host")[0].lower():
            raise Refused("cross_origin", "Origin is not this node; call from this node's own pages, or without Origin")


def _check_encoding(head: Head) -> None:
    if any(value.strip().lower() not in (b"", b"identity") for value in head.fields.get(b"content-encoding", NONE)):
        raise Refused("unsupported_media_type", "the body is compressed; send it as it is, without Content-Encoding")


def _expects_continue(head: Head) -> bool:
    if b"expect" not in head.fields:
        return False
    expects = [value.strip().lower() for value in head.fields[b"expect"]]
    if any(value != b"100-continue" for value in expects):
        raise Refused("expectation_failed", "only Expect: 100-continue is understood")
    return head.version == b"HTTP/1.1"


def _bare(host: bytes) -> bytes:
    return host.lower().removeprefix(b"[").removesuffix(b"]")


def _has_port(host: str) -> bool:
    return bool(re.search(r":[0-9]+$", host)) and (host.count(":") == 1 or "]:" in host)


def _is_loopback(host: bytes) -> bool:
    try:
        return ipaddress.ip_address(host.decode("ascii")).is_loopback
    except ValueError:
        return False


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
