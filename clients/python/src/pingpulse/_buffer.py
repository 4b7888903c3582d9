"""Pings that nobody waits for: a bounded buffer, and a thread that empties it in order."""

from __future__ import annotations

import atexit
import logging
import multiprocessing.util
import os
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from pingpulse._links import Pending
from pingpulse._retries import Attempts, Policy
from pingpulse._settings import Settings
from pingpulse._transport import Transport
from pingpulse._wire import Call
from pingpulse.errors import InvalidRequest, PayloadTooLarge, PingPulseError

IDLE_SECONDS = 5.0
"""After which the thread ends; the next ping starts another. Buffers that nobody uses any more can go then."""

HURRIED_GAP_SECONDS = 0.5
"""Between attempts while somebody waits for a flush."""

log = logging.getLogger("pingpulse")

_buffers: WeakSet[Buffer] = WeakSet()


class Buffer:
    """Takes pings without waiting and never raises. What cannot be sent is logged."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport = Transport(settings)
        self._policy = Policy(settings.keep_seconds, longest_gap=30.0)
        self._set_up()
        _buffers.add(self)

    def _set_up(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Pending[Any]]] = deque()
        self._current: tuple[int, Pending[Any]] | None = None
        self._bytes = 0
        self._serial = 0
        self._thread: threading.Thread | None = None
        self._hurry_until = 0.0
        self._is_out = False
        self._told_of_drops = False
        self.dropped = 0
        """How many pings were left out because the buffer was full, or because they could not be sent any more."""

    def __len__(self) -> int:
        """How many pings are still to be sent."""
        with self._changed:
            return len(self._waiting) + (self._current is not None)

    def put(self, pending: Pending[Any]) -> None:
        """Keeps a ping to be sent. If there is no room, the oldest makes it, or this one is left out."""
        if self._settings.problem is not None:
            self._drop("PingPulse is not told of anything: %s", self._settings.problem)
            return
        with self._changed:
            while not self._has_room_for(pending):
                if self._settings.when_full == "drop_newest" or not self._waiting:
                    self._drop("The buffer is full: pings are left out until there is room")
                    return
                _, oldest = self._waiting.popleft()
                self._bytes -= oldest.size_bytes
                self._drop("The buffer is full: the oldest pings make room for new ones")
            self._serial += 1
            self._waiting.append((self._serial, pending))
            self._bytes += pending.size_bytes
            self._start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Waits until all that is there by now was sent or refused; false if that takes longer. Tries sooner
        and more often if it was about to wait for PingPulse to come back."""
        give_up_at = time.monotonic() + seconds
        with self._changed:
            if self._start():
                last = self._serial
                self._hurry_until = max(self._hurry_until, give_up_at)
                self._changed.notify_all()
                return self._changed.wait_for(lambda: self._is_done(last), seconds)
        return self._empty(give_up_at)

    def close(self, seconds: float) -> bool:
        """Flushes, and closes the connections. It may be used again."""
        is_empty = self.flush(seconds)
        if is_empty:
            self._transport.close()
        else:
            log.warning("%d pings could not be sent to %s in time", len(self), self._settings.url)
        return is_empty

    def forget(self) -> None:
        """For a child after a fork: the parent sends what is there, and the thread is not ours."""
        self._set_up()

    def _has_room_for(self, pending: Pending[Any]) -> bool:
        settings = self._settings
        return len(self._waiting) < settings.buffer_size and (
            self._bytes + pending.size_bytes <= settings.buffer_bytes or not self._waiting
        )

    def _is_done(self, last: int) -> bool:
        first = self._current or (self._waiting[0] if self._waiting else None)
        return first is None or first[0] > last

    def _drop(self, message: str, *arguments: object) -> None:
        self.dropped += 1
        if not self._told_of_drops:
            self._told_of_drops = True
            log.warning(message, *arguments)

    def _start(self) -> bool:
        """Sees to it that there is a thread if there is anything to do; false if there cannot be one any more."""
        if self._thread is not None or not self._waiting:
            return True
        thread = threading.Thread(target=self._run, name="pingpulse", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending: the flush at exit sends by itself.
            return False
        self._thread = thread
        _flush_where_atexit_does_not()
        return True

    def _run(self) -> None:
        while self._take(IDLE_SECONDS):
            self._send(None)
        self._transport.close()

    def _empty(self, give_up_at: float) -> bool:
        """Sends in this thread, because there is no other any more."""
        while time.monotonic() < give_up_at and self._take(0):
            self._send(give_up_at)
        return time.monotonic() < give_up_at and not self._waiting

    def _take(self, seconds: float) -> bool:
        """Makes the oldest ping the current one; false if none comes in time, and then the thread has ended."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, seconds):
                self._thread = None
                return False
            self._current = self._waiting.popleft()
            self._bytes -= self._current[1].size_bytes
            return True

    def _send(self, give_up_at: float | None) -> None:
        """Deals with the current ping, for as long as it takes."""
        assert self._current is not None
        _, pending = self._current
        try:
            self._deliver(pending, give_up_at)
        except PingPulseError as error:
            log.warning("A ping to %s was given up. %s", pending.name, error)
        except Exception:
            log.exception("A ping to %s was given up", pending.name)
        finally:
            with self._changed:
                self._current = None
                if not self._waiting:
                    self._told_of_drops = False
                self._changed.notify_all()

    def _deliver(self, pending: Pending[Any], give_up_at: float | None) -> None:
        call = pending.addressed()
        if call is None:
            with self._changed:
                self._drop("A ping to %s is left out: what it belongs to was never opened", pending.name)
            return
        attempts = Attempts(self._policy, time.monotonic())
        while True:
            try:
                pending.answered(self._attempt(call, give_up_at))
                return
            except PingPulseError as error:
                if (request := call.request.saying_less()) is not None and _is_about_the_body(error):
                    log.warning("A ping to %s goes without its payload. %s", pending.name, error)
                    call = replace(call, request=request)
                    continue
                pause = attempts.pause_after(error, time.monotonic())
                if pause is None or (give_up_at is not None and time.monotonic() >= give_up_at):
                    raise
                self._tell_of_outage(error)
            self._wait(pause, give_up_at)

    def _attempt(self, call: Call[Any], give_up_at: float | None) -> Any:
        left = None if give_up_at is None else give_up_at - time.monotonic()
        answer = self._transport.send(call, left)
        if self._is_out:
            self._is_out = False
            log.info("PingPulse at %s takes pings again", self._settings.url)
        return answer

    def _tell_of_outage(self, error: PingPulseError) -> None:
        if not self._is_out:
            self._is_out = True
            log.warning("Pings are kept until they can be sent. %s", error)

    def _wait(self, seconds: float, give_up_at: float | None) -> None:
        """Until the next attempt, which comes soon while somebody waits for the flush."""
        began = time.monotonic()
        usual = began + seconds if give_up_at is None else min(began + seconds, give_up_at)
        with self._changed:
            while True:
                now = time.monotonic()
                until = min(usual, began + HURRIED_GAP_SECONDS) if now < self._hurry_until else usual
                if now >= until:
                    return
                self._changed.wait(until - now)


def _is_about_the_body(error: PingPulseError) -> bool:
    """Whether a ping that was refused may be taken if it says less. A stage that is not due is refused for itself."""
    if isinstance(error, PayloadTooLarge):
        return True
    return isinstance(error, InvalidRequest) and error.code in ("invalid_request", "http_400")


def _flush_all() -> None:
    """At exit. All buffers share the time of the most patient one."""
    began = time.monotonic()
    for buffer in list(_buffers):
        if len(buffer):
            left = buffer._settings.exit_seconds - (time.monotonic() - began)
            buffer.close(max(left, 0.0))


def _forget_all() -> None:
    for buffer in list(_buffers):
        buffer.forget()


_flushed_in: int | None = None


def _flush_where_atexit_does_not() -> None:
    """The children of multiprocessing end without what atexit knows, but not without its own finalizers."""
    global _flushed_in
    if _flushed_in != os.getpid() and multiprocessing.parent_process() is not None:
        _flushed_in = os.getpid()
        multiprocessing.util.Finalize(None, _flush_all, exitpriority=1)


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
