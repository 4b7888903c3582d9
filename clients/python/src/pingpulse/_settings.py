"""Where PingPulse is, and how patient its caller is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from pingpulse.errors import ConfigurationError

URL_VARIABLE = "PINGPULSE_URL"
KEY_VARIABLE = "PINGPULSE_API_KEY"

WhenFull = Literal["drop_oldest", "drop_newest"]


@dataclass(frozen=True)
class Settings:
    """All times are in seconds. The key is kept out of `repr`."""

    url: str
    key: str = field(repr=False)
    strict: bool
    timeout: float
    retry_seconds: float
    buffer_size: int
    buffer_bytes: int
    when_full: WhenFull
    keep_seconds: float
    exit_seconds: float
    http_options: Mapping[str, Any] = field(repr=False)

    @property
    def problem(self) -> str | None:
        """Why nothing can be sent with these; None if all is well."""
        if not self.url:
            return f"no address of PingPulse: pass url=… or set {URL_VARIABLE}"
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return f"{self.url!r} is not an address"
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return f"{self.url!r} is not an address: it must begin with http:// or https://"
        if not self.key:
            return f"no API key: pass key=… or set {KEY_VARIABLE}"
        if not (self.key.isascii() and self.key.isprintable()):
            return "the API key has characters that no key has"
        return None

    def check(self) -> None:
        """Raises ConfigurationError if nothing can be sent with these."""
        if (problem := self.problem) is not None:
            raise ConfigurationError(problem)


def make_settings(url: str | None, key: str | None, **others: Any) -> Settings:
    """What is None comes from the environment. Raises ConfigurationError, where `strict` wants to know."""
    url = url if url is not None else os.environ.get(URL_VARIABLE, "")
    key = key if key is not None else os.environ.get(KEY_VARIABLE, "")
    settings = Settings(url.strip().rstrip("/"), key.strip(), **others)
    if settings.when_full not in ("drop_oldest", "drop_newest"):
        raise ConfigurationError("when_full must be drop_oldest or drop_newest")
    if settings.buffer_size < 1:
        raise ConfigurationError("buffer_size must be at least 1")
    if settings.strict:
        settings.check()
    return settings
