"""How a check is written and run. A module of checks is imported by `examine`; `@check` does the rest."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import typer

from cli.errors import CommandError
from config.logging import redact
from config.settings import Settings

CHECK_SECONDS = 20.0


@dataclass(frozen=True)
class Finding:
    """What a check found to be right, in a few words; `warning` marks what is not wrong yet."""

    text: str
    warning: bool = False


class Problem(Exception):
    """What a check found wrong, and what to do about it."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy


Check = Callable[[Settings], Awaitable[Finding]]
_checks: dict[str, Check] = {}


def check(title: str) -> Callable[[Check], Check]:
    """Register a check under the title that starts its line. It raises Problem when something is wrong."""

    def register(function: Check) -> Check:
        _checks[title] = function
        return function

    return register


async def examine(settings: Settings, only: Collection[str] = ()) -> bool:
    """Run the checks in the order of their registration, print their lines, and answer whether all passed.

    `only` are titles, in any case; none means all. Raises CommandError for one that does not exist.
    """
    import cli.doctor.checks  # noqa: F401

    wanted = {title.casefold() for title in only}
    if unknown := wanted - {title.casefold() for title in _checks}:
        raise CommandError(f"There is no check {', '.join(sorted(unknown))}; there are {', '.join(_checks)}.")
    passed = [
        await _run(title, function, settings)
        for title, function in _checks.items()
        if not wanted or title.casefold() in wanted
    ]
    return all(passed)


async def _run(title: str, function: Check, settings: Settings) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            finding = await function(settings)
    except Problem as problem:
        _say("✗", typer.colors.RED, title, f"{problem.text}. → {problem.remedy}")
    except CommandError as error:
        _say("✗", typer.colors.RED, title, str(error))
    except TimeoutError:
        _say("✗", typer.colors.RED, title, f"no answer within {CHECK_SECONDS:g} s. → look at the machine's load")
    except Exception as error:
        # One line a check, also for what nobody thought of: the checks after it may tell why.
        reason = (str(error).strip().splitlines() or [""])[0]
        _say("✗", typer.colors.RED, title, redact(f"{type(error).__name__}: {reason}"))
    else:
        sign, color = ("!", typer.colors.YELLOW) if finding.warning else ("✓", typer.colors.GREEN)
        _say(sign, color, title, finding.text)
        return True
    return False


def _say(sign: str, color: str, title: str, text: str) -> None:
    typer.echo(f"{typer.style(sign, fg=color)} {title:13} {text}")
