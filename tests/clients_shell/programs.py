"""Programs of users, run as their systems would run them."""

import asyncio
import os
import re
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path

from tests.clients_shell.shells import SECONDS, Ended, heed_signals

DOCS = Path(__file__).parents[2] / "docs" / "integrations"
EXAMPLES = Path(__file__).parent / "examples"


async def run(*command: str, cwd: Path, **variables: str) -> Ended:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PINGPULSE_", "GITHUB_"))}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=environment | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=heed_signals,
    )
    out, error = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode is not None
    return Ended(process.returncode, out, error)


def snippets(page: str, language: str) -> list[str]:
    """What a page of docs/integrations shows in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def put_in(text: str, replacements: Mapping[str, str]) -> str:
    for theirs, ours in replacements.items():
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def crontab(text: str) -> tuple[dict[str, str], list[str]]:
    """The variables and the commands of a crontab, read as cron reads them."""
    variables, commands = {}, []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            continue
        if found := re.fullmatch(r"([A-Z_]+)=(.*)", line):
            variables[found[1]] = found[2]
        else:
            *_, command = line.split(maxsplit=5)
            commands.append(re.split(r"(?<!\\)%", command)[0].replace(r"\%", "%"))
    return variables, commands
