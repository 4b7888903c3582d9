"""Browsers in words: what the User-Agent header says, as far as people want to know."""

import re
from typing import Final

# In this order: most of them claim to be the ones further down, too.
_BROWSERS: Final = (
    ("Edg", "Edge"), ("OPR", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("HeadlessChrome", "Headless Chrome"), ("Chrome", "Chrome"),
    ("Version", "Safari"), ("curl", "curl"), ("python-httpx", "Python"), ("python-requests", "Python"),
)  # fmt: skip
_SYSTEMS: Final = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def in_words(user_agent: str | None) -> str:
    """Such as "Firefox 130 on Windows". The header says whatever its sender likes, so nothing else of it is shown."""
    text = user_agent or ""
    browser = next((_named(text, mark, name) for mark, name in _BROWSERS if f"{mark}/" in text), None)
    if browser is None:
        return "An unknown program"
    system = next((name for mark, name in _SYSTEMS if mark in text), None)
    return f"{browser} on {system}" if system else browser


def _named(text: str, mark: str, name: str) -> str:
    version = re.search(rf"{re.escape(mark)}/(\d{{1,4}})", text)
    return f"{name} {version[1]}" if version and name != "Python" else name
