"""docker-compose.yml and the Dockerfile, as far as they can be checked without a container engine.

`compose-spec.json` is schema/compose-spec.json of github.com/compose-spec/compose-spec, unchanged; its licence
(Apache 2.0) is beside it.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from cli.main import app
from config.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ["migrate", "api", "worker"]
VARIABLES = {f"PINGPULSE_{name.upper()}" for name in Settings.model_fields}
SECRET = re.compile(r"PASSWORD|PWD|SECRET|API_KEY", re.IGNORECASE)


def command_exists(words: list[str]) -> bool:
    """Whether the words are a command of ours, with options that it has."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        command = command.commands.get(words[0])
        if command is None:
            return False
        words = words[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    return all(word in options for word in words if word.startswith("--"))


def test_it_fits_the_compose_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(COMPOSE)]
    assert errors == []


def test_the_parts_are_all_there() -> None:
    images = {name: service["image"].split(":")[0] for name, service in SERVICES.items()}
    assert images == {
        "postgres": "postgres",
        "temporal-schema": "temporalio/admin-tools",
        "temporal": "temporalio/server",
        "temporal-namespace": "temporalio/admin-tools",
        "temporal-ui": "temporalio/ui",
        **dict.fromkeys(OURS, "pingpulse"),
    }
    assert "auto-setup" not in TEXT


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_commands_that_exist(name: str) -> None:
    assert command_exists(SERVICES[name]["command"])


def test_a_health_check_of_ours_is_a_command_that_exists() -> None:
    command = SERVICES["worker"]["healthcheck"]["test"]
    assert command[:2] == ["CMD", "pingpulse"]
    assert command_exists(command[2:])


def commands_in(text: str) -> Iterator[list[str]]:
    """What follows `pingpulse` wherever a line tells to run it."""
    for words in re.findall(r"(?:exec api |`|^ *(?:\$ )?)pingpulse ([a-z][^`\n]*)", text, re.MULTILINE):
        yield shlex.split(words, comments=True)


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", ".env.example", "docs/operations.md"])
def test_what_we_tell_people_to_run_exists(file: str) -> None:
    commands = list(commands_in((ROOT / file).read_text()))
    assert file == ".env.example" or commands
    assert [words for words in commands if not command_exists(words)] == []


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", ".env.example"])
def test_every_variable_of_ours_is_a_setting(file: str) -> None:
    mentioned = set(re.findall(r"PINGPULSE_[A-Z_]+", (ROOT / file).read_text()))
    # Of the image, not of the program.
    assert mentioned - VARIABLES - {"PINGPULSE_TAG"} == set()


def test_no_secret_has_a_value_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                # Required, or empty unless it is set.
                assert re.fullmatch(r"\$\{[A-Z_]+:(?:\?[^}]+|-)\}", value), (name, variable)
            if "://" in value and "@" in value:
                assert re.search(r"://\w+:\$\{[A-Z_]+:\?[^}]+\}@", value), (name, variable)
    assert not re.search(r"^[A-Z_]*(PASSWORD|SECRET_KEY)=.", (ROOT / ".env.example").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["postgres", "temporal", "api", "worker"])
def test_what_keeps_running_is_watched(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_everything_waits_for_what_it_needs() -> None:
    waits = {
        (name, needed, how["condition"].removeprefix("service_"))
        for name, service in SERVICES.items()
        for needed, how in service.get("depends_on", {}).items()
    }
    assert waits == {
        ("temporal-schema", "postgres", "healthy"),
        ("temporal", "postgres", "healthy"),
        ("temporal", "temporal-schema", "completed_successfully"),
        ("temporal-namespace", "temporal", "healthy"),
        ("temporal-ui", "temporal", "healthy"),
        ("migrate", "postgres", "healthy"),
        ("migrate", "temporal-namespace", "completed_successfully"),
        ("api", "postgres", "healthy"),
        ("api", "migrate", "completed_successfully"),
        ("worker", "postgres", "healthy"),
        ("worker", "migrate", "completed_successfully"),
    }
    for _, needed, condition in waits:
        assert condition != "healthy" or "healthcheck" in SERVICES[needed]
        assert condition != "completed_successfully" or SERVICES[needed]["restart"].startswith("on-failure")


def test_data_is_in_named_volumes_and_replicas_are_possible() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert mounts == list(COMPOSE["volumes"])
    assert "container_name" not in TEXT
    assert "ports" not in SERVICES["worker"]
    [port] = SERVICES["api"]["ports"]
    first, last = re.search(r":-(\d+)-(\d+)\}:8000$", port).groups()  # type: ignore[union-attr]
    assert int(last) > int(first)


def test_the_image_holds_every_package_and_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks", "clients"}
    assert set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE)) == packages
    admitted = set(re.findall(r"^!([\w.]+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert admitted == packages | {"requirements.txt"}
    assert re.findall(r"^USER (\w+)$", dockerfile, re.MULTILINE)[-1] == "pingpulse"
    assert "--require-hashes" in dockerfile
