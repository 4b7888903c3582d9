"""Settings as a command sees them: flags, then variables and `.env`, then what `up` runs in the data directory."""

import os
import sys
from typing import Any

from pydantic import SecretStr, ValidationError

from cli.data_dir import DataDir
from cli.errors import CommandError
from config.settings import Settings

SECRET_KEY_LENGTH = 32


def load_settings(**flags: object) -> Settings:
    """Flags that were not given are None. Raises CommandError with the variable and what is wrong with it."""
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{variable('_'.join(str(part) for part in problem['loc']))}: {problem['msg']}"
            # Without the input: it may be a password.
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise CommandError(f"{problems}. All settings are in docs/operations.md.") from None


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"PINGPULSE_{setting.upper()}"


def with_running_stack(settings: Settings) -> Settings:
    """Fills in from a running `up` of the same data directory whatever address is not set."""
    data_dir = DataDir(settings.data_dir)
    update: dict[str, object] = {}
    if (runtime := data_dir.runtime()) is not None:
        if settings.database_url is None and runtime.database_url is not None:
            update["database_url"] = SecretStr(runtime.database_url)
        if settings.temporal_address is None and runtime.temporal_address is not None:
            update["temporal_address"] = runtime.temporal_address
        if settings.smtp_host is None and settings.mail_dir is None:
            update["mail_dir"] = data_dir.mail
        if settings.public_url is None:
            update["public_url"] = runtime.gateway_url
    if settings.secret_key is None and (secret := data_dir.secret_key()) is not None:
        update["secret_key"] = SecretStr(secret)
    return settings.model_copy(update=update)


def database_url(settings: Settings) -> str:
    """Raises CommandError when none is set."""
    if settings.database_url is None:
        raise CommandError(
            f"Nothing runs in the data directory {settings.data_dir}, and no database is set: start `pingpulse up "
            f"--data-dir {settings.data_dir}`, or set PINGPULSE_DATABASE_URL."
        )
    return settings.database_url.get_secret_value()


def require_secret_key(settings: Settings) -> None:
    """Raises CommandError without a secret key that is long enough."""
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if len(secret) < SECRET_KEY_LENGTH:
        raise CommandError(
            f"PINGPULSE_SECRET_KEY must be set to at least {SECRET_KEY_LENGTH} characters, the same in all gateways "
            "and workers; `openssl rand -base64 48` makes one."
        )


def child_environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process exactly these settings, whatever its own `.env` says."""
    values = settings.model_dump(exclude_none=True)
    environment = {
        variable(name): str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in values.items()
    }
    # Lines of one child must not be held back until a buffer is full.
    return environment | {"PYTHONUNBUFFERED": "1"} | _color()


def _color() -> dict[str, str]:
    # Children write to a pipe and cannot see that a terminal is at its end.
    return {"FORCE_COLOR": "1"} if sys.stderr.isatty() and "NO_COLOR" not in os.environ else {}
