"""What the pings of one run share: the id that the answer to its first one tells."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pingpulse._wire import Call, Request
from pingpulse.models import ProcessAnswer, StageAnswer

T = TypeVar("T")


class Link(ABC):
    """The id of a run, None until it is known. Blocking senders take turns until then, so that only one opens it."""

    def __init__(self, id_: str | None = None) -> None:
        self.id = id_
        self.turn = threading.Lock()
        self.async_turn = asyncio.Lock()

    @abstractmethod
    def address(self, request: Request) -> Request | None:
        """The request, to the right run; None if it cannot be sent any more."""

    @abstractmethod
    def answered(self, answer: Any) -> None:
        """Learns the id from an answer."""


class InstanceLink(Link):
    """Of a workflow's run. The first ping that gets through opens it, whichever that is."""

    def __init__(self, kind: str, id_: str | None) -> None:
        super().__init__(id_)
        self._kind = kind
        self._process = os.getpid()

    def address(self, request: Request) -> Request | None:
        if self.id is not None:
            return request.with_query(instance_id=self.id)
        # A forked child never learns the id that its parent gets; it means the run that the parent opens.
        is_ours = self._process == os.getpid()
        return request.with_query(start="yes") if self._kind == "dynamic" and is_ours else request

    def answered(self, answer: StageAnswer) -> None:
        self.id = self.id or answer.instance_id


class StartLink(Link):
    """Of a process hook's run, for its start."""

    def address(self, request: Request) -> Request | None:
        return request

    def answered(self, answer: ProcessAnswer) -> None:
        self.id = answer.run_id


class EndLink(Link):
    """Of a process hook's run, for its end. Without an id it would end somebody else's."""

    def __init__(self, start: StartLink) -> None:
        super().__init__()
        self._start = start

    def address(self, request: Request) -> Request | None:
        return request.with_query(run_id=self._start.id) if self._start.id is not None else None

    def answered(self, answer: ProcessAnswer) -> None:
        """There is nothing to learn from it."""


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A ping that is to be sent."""

    call: Call[T]
    link: Link | None = None

    @property
    def size_bytes(self) -> int:
        request = self.call.request
        return sum(len(body or b"") for body in (request.body, *request.lesser_bodies))

    @property
    def name(self) -> str:
        return self.call.request.path

    def addressed(self) -> Call[T] | None:
        """The call as it is to be sent; None if it cannot be sent any more. The same for all attempts."""
        if self.link is None:
            return self.call
        request = self.link.address(self.call.request)
        return replace(self.call, request=request) if request is not None else None

    def answered(self, answer: T) -> None:
        if self.link is not None:
            self.link.answered(answer)
