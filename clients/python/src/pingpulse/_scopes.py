"""What is reported while it is done: `with`, `async with`, and decorators.

A scope may be entered again and again, by many threads and tasks at once. Each time is a visit of its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

from pingpulse._links import Pending
from pingpulse._pings import describe

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("pingpulse")


class Visit(ABC):
    """One pass through a scope. `add` says more about it; that is sent when it ends. Without a reporter, nothing is."""

    def __init__(self, reporter: Reporter | None, details: dict[str, Any]) -> None:
        self.reporter = reporter
        self._began_at = time.monotonic()
        self._details = details

    def add(self, **details: Any) -> None:
        """What else to tell: `payload`, `status`, `usage`, `model_id`, `cost_usd`, `agent` and so on. Payloads add
        up, of all else the last counts."""
        before, now = self._details.get("payload"), details.get("payload")
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            details["payload"] = {**before, **now}
        self._details.update(details)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began_at

    @abstractmethod
    def opening(self, lenient: bool) -> Pending[Any] | None:
        """What is reported when it begins, if anything."""

    @abstractmethod
    def closing(self, error: BaseException | None, lenient: bool) -> Pending[Any] | None:
        """What is reported when it ends, if anything. `error` is what it ended with."""


V = TypeVar("V", bound=Visit)
Build = Callable[[bool], "Pending[Any] | None"]


class Reporter(Protocol):
    """How reports are sent: into the buffer or, if `strict`, at once. Takes what builds the report, so that nothing
    that is wrong with it gets in the way of a job that is not strict."""

    strict: bool

    def report(self, build: Build) -> None: ...

    async def report_async(self, build: Build) -> None: ...


_open: ContextVar[tuple[tuple[object, Visit], ...]] = ContextVar("pingpulse_open", default=())


def innermost(kind: type[V]) -> V | None:
    """The visit of this kind that the current thread or task is in, the innermost if there are several."""
    return next((visit for _, visit in reversed(_open.get()) if isinstance(visit, kind)), None)


class Scope(Generic[V]):
    """A context manager, async context manager and decorator. `make` begins a visit."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make

    def __enter__(self) -> V:
        visit = self._make()
        if visit.reporter is not None:
            visit.reporter.report(visit.opening)
        self._push(visit)
        return visit

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        visit = self._pop()
        if visit is None or visit.reporter is None:
            return
        try:
            visit.reporter.report(functools.partial(visit.closing, error))
        except Exception as problem:
            if error is None:
                raise
            log.warning("The end of what failed could not be reported. %s", problem)

    async def __aenter__(self) -> V:
        visit = self._make()
        if visit.reporter is not None:
            await visit.reporter.report_async(visit.opening)
        self._push(visit)
        return visit

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        visit = self._pop()
        if visit is None or visit.reporter is None:
            return
        try:
            await visit.reporter.report_async(functools.partial(visit.closing, error))
        except Exception as problem:
            if error is None:
                raise
            log.warning("The end of what failed could not be reported. %s", problem)

    def __call__(self, function: F) -> F:
        """Reports each call of a function, `async` or not. Generators are not calls: use `with` inside."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: use `with` inside of it instead")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*arguments: Any, **named: Any) -> Any:
                async with self:
                    return await function(*arguments, **named)

            return cast(F, awaited)

        @functools.wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            with self:
                return function(*arguments, **named)

        return cast(F, called)

    def _push(self, visit: V) -> None:
        _open.set((*_open.get(), (self, visit)))

    def _pop(self) -> Visit | None:
        """The visit that ends. None if it began in another context, such as another task: then nothing is known."""
        visits = _open.get()
        for i in range(len(visits) - 1, -1, -1):
            if visits[i][0] is self:
                _open.set(visits[:i] + visits[i + 1 :])
                return visits[i][1]
        log.warning("What ends here began in another context: its end is not reported")
        return None


def status_of(error: BaseException | None) -> tuple[bool, str | None]:
    """Whether what ended with this went well, and what went wrong. `sys.exit(0)` is a good end."""
    if error is None:
        return True, None
    if isinstance(error, SystemExit):
        if error.code in (None, 0, False):
            return True, None
        return False, f"exit code {error.code}" if isinstance(error.code, int) else describe(error)
    return False, describe(error)
