"""The checks of the stack itself."""

import asyncio
import os
import platform
import shutil
import sys
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text

from cli.doctor.registry import Finding, Problem, check
from cli.environment import database_url, require_secret_key
from cli.identities import database_session
from cli.probes import check_database, pollers_since, temporal_client
from config.settings import Settings
from config.temporal import missing_search_attributes, temporal_address
from storage.approval_audit import find_tampering
from storage.approvals import approvals_stand
from storage.messages import telling_stands
from storage.migrate import current_revision, head_revision
from storage.outbox import OutboxRow

_OLDEST_PYTHON = (3, 11)
_LEAST_FREE_BYTES = 1_000_000_000
_LEAST_FREE_SHARE = 0.05
_LARGE_OUTBOX = 10_000
_NAMED = 5
# A worker's question to the task queue stays open for up to a minute; after that it asks again.
_POLL_WINDOW = timedelta(seconds=70)


@check("Python")
async def python(_settings: Settings) -> Finding:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        raise Problem(f"{version} is too old", "install Python 3.11 or newer and make a new .venv")
    return Finding(f"{version} in {sys.prefix}")


@check("Settings")
async def settings_fit(settings: Settings) -> Finding:
    require_secret_key(settings)
    outside = settings.public_url is not None and settings.public_url.startswith("https://")
    if outside and not settings.cookie_secure:
        raise Problem(
            "callers come over HTTPS, yet cookies would also go over HTTP", "set PINGPULSE_COOKIE_SECURE=true"
        )
    return Finding(f"valid; callers use {settings.base_url}")


@check("Postgres")
async def postgres(settings: Settings) -> Finding:
    url = database_url(settings)
    await check_database(url)
    async with database_session(url) as session:
        version = await session.scalar(text("SHOW server_version"))
        durable = await session.scalar(text("SHOW fsync")) == "on"
    if not durable:
        raise Problem(
            "fsync is off: a crash of the machine loses acknowledged pings", "set fsync = on in postgresql.conf"
        )
    return Finding(f"answers, version {version}")


@check("Migrations")
async def migrations(settings: Settings) -> Finding:
    current, head = await asyncio.to_thread(current_revision, database_url(settings)), head_revision()
    if current != head:
        raise Problem(
            f"the database is at {current or 'nothing'}, this version wants {head}", "run `pingpulse migrate`"
        )
    return Finding(f"at {head}")


@check("Temporal")
async def temporal(settings: Settings) -> Finding:
    client = await temporal_client(settings)
    if missing := await missing_search_attributes(client):
        raise Problem(f"lacks search attributes: {', '.join(missing)}", "run `pingpulse migrate`")
    return Finding(f"answers at {temporal_address(settings)}, namespace {client.namespace}")


@check("Worker")
async def worker(settings: Settings) -> Finding:
    client = await temporal_client(settings)
    queue = settings.temporal_task_queue
    count = await pollers_since(client, queue, datetime.now(UTC) - _POLL_WINDOW)
    if count == 0:
        raise Problem(f"nobody works on the task queue {queue}", "start `pingpulse worker`, or look at its log")
    return Finding(f"{count} polling {queue}")


@check("Outbox")
async def outbox(settings: Settings) -> Finding:
    async with database_session(database_url(settings)) as session:
        waiting = await session.scalar(select(func.count()).select_from(OutboxRow)) or 0
    if waiting > _LARGE_OUTBOX:
        raise Problem(
            f"{waiting} pings are journaled but not delivered to Temporal",
            "if a gateway runs and Temporal answers, wait for it to shrink; otherwise start what is missing",
        )
    return Finding(f"{waiting} pings on their way to Temporal")


@check("Alerts")
async def alerts(settings: Settings) -> Finding:
    async with database_session(database_url(settings)) as session:
        standing = await telling_stands(session, datetime.now(UTC))
    if standing.overdue:
        raise Problem(
            f"{standing.overdue} alerts wait to be told, the oldest for {standing.oldest_seconds:.0f} s",
            "start `pingpulse worker`, or look at its log",
        )
    finding = f"{standing.pending} messages on their way, {standing.failed} failed in the last day"
    return Finding(
        f"{finding}; see GET /api/alerts, and the letters of approvals" if standing.failed else finding,
        warning=standing.failed > 0,
    )


@check("Approvals")
async def approvals(settings: Settings) -> Finding:
    async with database_session(database_url(settings)) as session:
        # Of one moment: entries are written while we read.
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        broken = await find_tampering(session)
        stand = await approvals_stand(session, datetime.now(UTC))
    if broken:
        first = ", ".join(f"{one.approval_id} ({one.what})" for one in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise Problem(
            f"somebody tampered with {first}{more}",
            "compare with a backup, and find out who may write to the database",
        )
    if stand.late or stand.unfollowed:
        raise Problem(
            f"{stand.pending} pending, {stand.late} of them past their deadline; "
            f"{stand.unfollowed} have news that no workflow has noticed",
            "start `pingpulse worker` and a gateway, or look at their logs; if Temporal was lost, `pingpulse revive`",
        )
    return Finding(f"{stand.pending} pending, every audit trail holds")


@check("Mail")
async def mail(settings: Settings) -> Finding:
    if settings.smtp is not None:
        return Finding(f"goes through {settings.smtp.host}")
    if settings.mail_dir is not None:
        return Finding(f"kept in {settings.mail_dir} and shown at /dev/mail")
    return Finding(
        "not set up: channels of kind email and requests to approvers fail until PINGPULSE_SMTP_HOST is set",
        warning=True,
    )


@check("Disk")
async def disk(settings: Settings) -> Finding:
    place = settings.data_dir if settings.data_dir.exists() else "."
    usage = shutil.disk_usage(place)
    free = f"{usage.free / 1e9:.1f} GB free at {os.path.realpath(place)}"
    if usage.free < _LEAST_FREE_BYTES:
        raise Problem(free, "make room: Postgres stops at a full disk, and with it the gateway")
    return Finding(free, warning=usage.free < usage.total * _LEAST_FREE_SHARE)
