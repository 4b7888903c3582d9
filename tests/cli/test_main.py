"""The command line itself."""

import os
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from config.settings import Settings

COMMANDS = [
    *("up", "api", "worker", "migrate", "doctor", "revive", "login-link", "mcp", "exec", "ping", "approve-wait"),
    *("keys create", "keys list", "keys revoke", "users create"),
]


def names_of(command: Any, *words: str) -> list[str]:
    if not isinstance(command, TyperGroup):
        return [" ".join(words)]
    return [name for word, inner in command.commands.items() for name in names_of(inner, *words, word)]


def test_these_are_all_commands() -> None:
    assert sorted(names_of(typer.main.get_command(app))) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    # In a process of its own: some commands become another program.
    line = [sys.executable, "-P", "-m", "cli", *command.split(), "--help"]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"pingpulse {command} " in result.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cli.main import app\n"
        "CliRunner().invoke(app, ['--help'])\n"
        "print(*sorted({'sqlalchemy', 'temporalio', 'fastapi', 'alembic', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_every_flag_of_up_is_a_setting_with_its_variable() -> None:
    parameters = typer.main.get_command(app).commands["up"].params  # type: ignore[attr-defined]
    flags = {parameter.name: parameter.envvar for parameter in parameters}
    assert set(flags) == {"host", "port", "data_dir", "temporal_port", "temporal_ui_port"}
    assert flags == {name: f"PINGPULSE_{name.upper()}" for name in flags}
    assert set(flags) <= set(Settings.model_fields)


def test_an_error_is_one_line_and_exit_code_1() -> None:
    environment = {**os.environ, "PINGPULSE_PORT": "99999"}
    command = [sys.executable, "-P", "-m", "cli", "doctor"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("pingpulse: PINGPULSE_PORT: ")
    assert result.stderr.count("\n") == 1
