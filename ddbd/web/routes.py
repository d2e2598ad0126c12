"""Klein's static routes, resolved once: a method and a path without variables go straight to their handler.

Klein's own way (measured: 55 µs of a request's 75) binds a mapper, matches the path and builds a chain of Deferreds for each request. What
is not found here goes that way still: paths with variables, other methods, unknown paths. A route's handler answers the request itself, or
gives what Klein takes as well: bytes, text, or a Deferred of them. NOT_DONE_YET says, as in twisted.web, that the answer
comes later by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from ddbd.web.request import Request


class Routes:
    """`instance` is what the app's handlers are methods of."""

    def __init__(self, app: Klein, instance: Any) -> None:
        self._handlers = {
            (method.encode("ascii"), rule.rule.encode("ascii")): _handler(app, rule.endpoint, instance)
            for rule in app.url_map.iter_rules()
            if not rule.arguments
            for method in rule.methods or ("GET", "HEAD")
        }

    @property
    def paths(self) -> set[bytes]:
        return {path for _, path in self._handlers}

    def run(self, request: Request) -> bool:
        """Whether the path is one of ours."""
        handler = self._handlers.get((request.method, request.path))
        if handler is None:
            return False
        request.is_straight = True
        result = handler(request)
        if result is NOT_DONE_YET:
            return True
        if not isinstance(result, bytes) and isinstance(result, Deferred):  # an abstract class: asked in Python, and so not of each answer
            if not request.finished:
                request.call = result
                result.addCallbacks(_write, failed, (request,), {}, (request,))
        else:
            _write(result, request)
        return True


def _handler(app: Klein, endpoint: str, instance: Any) -> Callable[[Any], Any]:
    """Klein's executor of a route binds the instance and looks for a coroutine, at each request; of a plain function both are known now."""
    function = getattr(app.endpoints[endpoint], "__wrapped__", None)
    if function is None or iscoroutinefunction(function) or getattr(function, "__klein_bound__", False):
        return partial(app.execute_endpoint, endpoint)
    return partial(function, instance)


def _write(result: Any, request: Request) -> None:
    if result is not None:
        request.respond(result.encode() if isinstance(result, str) else result)
    elif not request.finished:
        request.finish()


def failed(failure: Any, request: Any) -> None:
    """The refusal itself failed: the client hears of it all the same."""
    if not request.finished:
        request.processingFailed(failure)
