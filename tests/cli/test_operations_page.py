"""docs/operations.md names every setting there is, and none that is not."""

import re
from pathlib import Path

import typer

from cli.main import app
from config.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def expected_table() -> str:
    """The table of settings: paste it into the page when this module's first test fails."""
    lines = ["| variable | default | what it is for |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        default = "" if value is None else f"`{value}`"
        lines.append(f"| `PINGPULSE_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def test_the_table_of_settings_is_complete_and_right() -> None:
    table = expected_table()
    assert table in PAGE, f"docs/operations.md should have:\n\n{table}"
    assert len(re.findall(r"^\| `PINGPULSE_", PAGE, re.MULTILINE)) == len(Settings.model_fields)


def test_every_flag_of_up_is_beside_its_variable() -> None:
    parameters = typer.main.get_command(app).commands["up"].params  # type: ignore[attr-defined]
    for parameter in parameters:
        assert f"| `{parameter.opts[0]}` | `{parameter.envvar}` |" in PAGE


def test_every_variable_that_the_page_speaks_of_exists() -> None:
    known = {f"PINGPULSE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"PINGPULSE_[A-Z_]*[A-Z]", PAGE)) <= known
