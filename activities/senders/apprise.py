"""Any service that apprise knows by its URL: https://github.com/caronc/apprise/wiki

apprise blocks, and does as it likes with the network: it gets a process of its own, see `apprise_process`.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from activities.outgoing import REFUSAL
from activities.senders.addresses import apprise_problem
from activities.senders.base import Envelope, Receipt, Sender, TryLater, Undeliverable
from activities.senders.wording import lines_below, links_of, one_line
from domain.alerts import Severity
from domain.messages import MessageText
from domain.networks import Network

TIMEOUT_SECONDS: Final = 30.0
_MAX_TITLE: Final = 250
_EXHAUSTED: Final = "The service's answer is too large."
_PROCESSES: Final = 4
"""At a time; each takes half a second of one core and 60 MB."""

# No proxies, which would resolve names themselves, and none of our own settings and secrets.
_INHERITED: Final = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def apprise_sender(allowed_networks: Sequence[Network], timeout_seconds: float = TIMEOUT_SECONDS) -> Sender:
    """The channel's address is an apprise URL."""
    slots = asyncio.Semaphore(_PROCESSES)

    async def send(envelope: Envelope) -> Receipt:
        if problem := await asyncio.to_thread(apprise_problem, envelope.address):
            raise Undeliverable(f"The address {problem}.")
        job = apprise_job(envelope) | {"allowed": [str(network) for network in allowed_networks]}
        async with slots:
            return _judged(await _run(job, timeout_seconds))

    return send


def apprise_job(envelope: Envelope) -> dict[str, Any]:
    text = envelope.text
    lines = [*lines_below(text), *(f"{says}: {url}" for says, url in links_of(envelope))]
    return {
        "url": envelope.address,
        "title": one_line(text.headline, _MAX_TITLE),
        "body": "\n".join(lines) or text.headline,
        "type": _type_of(text),
        "base_url": envelope.base_url,
    }


def _type_of(text: MessageText) -> str:
    if text.resolves:
        return "success"
    return {Severity.INFO: "info", Severity.WARNING: "warning"}.get(text.severity, "failure")


async def _run(job: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-B", "-m", "activities.senders.apprise_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        # A home that does not exist: no ~/.netrc, no settings of anybody.
        env=environment | {"HOME": "/nonexistent"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate(json.dumps(job).encode())
        return dict(json.loads(output))
    except TimeoutError:
        raise TryLater(f"The service did not answer within {timeout_seconds:g} seconds.") from None
    except ValueError:
        is_killed = process.returncode in (-signal.SIGKILL, -signal.SIGXCPU)
        raise TryLater(_EXHAUSTED if is_killed else "apprise ended without an answer.") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _judged(answer: dict[str, Any]) -> Receipt:
    match answer["outcome"]:
        case "sent":
            return Receipt()
        case "invalid":
            raise Undeliverable("apprise does not understand the URL.")
        case "refused":
            raise Undeliverable(REFUSAL.format(host=answer["host"], address=answer["address"]))
        case "exhausted":
            raise TryLater(_EXHAUSTED)
        case "unresolved":
            raise TryLater(f"{answer['detail']} cannot be resolved.")
    status, detail = answer.get("status"), answer.get("detail") or "The service did not take it."
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        raise Undeliverable(detail, status_code=status)
    raise TryLater(detail, status_code=status)
