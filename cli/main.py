"""The `pingpulse` command. Every import that costs time is inside the command that needs it: `--help` is quick."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from cli.client import HandedOver, hand_over
from cli.errors import CommandError

_T = TypeVar("_T")

app = typer.Typer(
    name="pingpulse",
    help="Watches other people's work: pipelines, crons, robots and AI agents.",
    no_args_is_help=True,
    add_completion=False,
    # Pretty tracebacks print local variables, and those hold keys and passwords.
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
users_app = typer.Typer(help="Make users.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(users_app, name="users")

DataDirFlag = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="PINGPULSE_DATA_DIR", help="Where `pingpulse up` keeps its data [.pingpulse]."),
]
OwnerFlag = Annotated[
    str | None, typer.Option("--email", help="A user of the account; needed when there are several accounts.")
]


def main() -> None:
    """What the user caused is said in one line, with exit code 1; what we caused keeps its traceback."""
    from domain.errors import DomainError

    try:
        app(prog_name="pingpulse")
    except (CommandError, DomainError) as error:
        typer.secho(f"pingpulse: {error}", fg=typer.colors.RED, err=True)
        sys.exit(1)


@app.command()
def up(
    host: Annotated[
        str | None, typer.Option(envvar="PINGPULSE_HOST", help="Address the gateway listens on [127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None, typer.Option(envvar="PINGPULSE_PORT", help="Port of the gateway [8000]; 0 takes a free one.")
    ] = None,
    data_dir: DataDirFlag = None,
    temporal_port: Annotated[
        int | None,
        typer.Option(envvar="PINGPULSE_TEMPORAL_PORT", help="Port of the Temporal server that is started [7233]."),
    ] = None,
    temporal_ui_port: Annotated[
        int | None, typer.Option(envvar="PINGPULSE_TEMPORAL_UI_PORT", help="Port of the Temporal UI [8233].")
    ] = None,
) -> None:
    """Start everything on this machine: Postgres, Temporal, worker and gateway."""
    from cli.environment import load_settings

    settings = load_settings(
        host=host, port=port, data_dir=data_dir, temporal_port=temporal_port, temporal_ui_port=temporal_ui_port
    )
    _configure_logging(settings)
    from cli.up import run_stack

    _run(run_stack(settings))


@app.command()
def api() -> None:
    """Run one gateway process. Any number of them may run side by side."""
    from cli.environment import database_url, load_settings, require_secret_key, with_running_stack

    settings = with_running_stack(load_settings())
    database_url(settings)
    require_secret_key(settings)
    _configure_logging(settings)
    from cli.serve import serve_api

    serve_api(settings)


@app.command()
def worker() -> None:
    """Run one worker process. Any number of them may run side by side."""
    from cli.environment import database_url, load_settings, with_running_stack

    settings = with_running_stack(load_settings())
    database_url(settings)
    _configure_logging(settings)
    from cli.serve import serve_worker

    _run(serve_worker(settings))


@app.command()
def migrate(data_dir: DataDirFlag = None) -> None:
    """Bring the database to this version, and register search attributes if a Temporal is set."""
    from cli.environment import database_url, load_settings, with_running_stack
    from cli.probes import check_database, register_search_attributes, temporal_client

    settings = with_running_stack(load_settings(data_dir=data_dir))
    url = database_url(settings)
    _configure_logging(settings)
    _run(check_database(url))
    from storage.migrate import upgrade

    upgrade(url)
    typer.echo("The database is at this version.", err=True)

    async def register() -> list[str]:
        return await register_search_attributes(await temporal_client(settings))

    if settings.temporal_address is not None:
        registered = _run(register())
        typer.echo(f"Search attributes registered: {', '.join(registered) or 'all there already'}.", err=True)


@app.command()
def doctor(
    only: Annotated[list[str] | None, typer.Option(help="Run this check alone; may be given more than once.")] = None,
    data_dir: DataDirFlag = None,
) -> None:
    """Look at everything that must be right; exit code 1 if something is not."""
    from cli.doctor import examine
    from cli.environment import load_settings, with_running_stack

    if not _run(examine(with_running_stack(load_settings(data_dir=data_dir)), only or ())):
        raise typer.Exit(1)


@app.command()
def revive(data_dir: DataDirFlag = None) -> None:
    """Tell Temporal of every open instance again, after it was lost or restored. Harmless at any time."""
    from cli.environment import database_url, load_settings, with_running_stack

    settings = with_running_stack(load_settings(data_dir=data_dir))
    database_url(settings)
    from cli.revive import revive as revive_instances

    typer.echo(f"Temporal was told of {_run(revive_instances(settings))} open instances, pulses and runs.", err=True)


@app.command("login-link")
def login_link(
    email: Annotated[str | None, typer.Option(help="Whom it logs in; else the first owner.")] = None,
    reset_second_factor: Annotated[
        bool, typer.Option("--reset-second-factor", help="Turn their two-factor login off, too: the phone is lost.")
    ] = False,
    data_dir: DataDirFlag = None,
) -> None:
    """Print a link that logs in without a password, once, within an hour; and nothing else, on standard output."""
    from cli.environment import database_url, load_settings, with_running_stack
    from cli.identities import login_link as make_link

    settings = with_running_stack(load_settings(data_dir=data_dir))
    whom, token = _run(make_link(database_url(settings), email, reset_second_factor=reset_second_factor))
    typer.echo(f"Logs in {whom}, once, within an hour.", err=True)
    typer.echo(f"{settings.base_url}/start/{token}")


@app.command()
def mcp(
    url: Annotated[
        str, typer.Option(envvar="PINGPULSE_URL", help="The gateway whose tools these are.")
    ] = "http://localhost:8000",
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP instead of standard input.")] = False,
    host: Annotated[str, typer.Option(help="With --http: the address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="With --http: the port; 0 takes a free one.", min=0, max=65535)] = 8808,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="With --http: a name that clients reach it by, behind a proxy. May be given more than once."),
    ] = None,
) -> None:
    """Tools for AI agents, over the Model Context Protocol. The key is in PINGPULSE_API_KEY."""
    from cli.environment import load_settings

    _configure_logging(load_settings())
    from cli.mcp_server.serving import serve_http, serve_stdio

    key = os.environ.get("PINGPULSE_API_KEY", "").strip() or None
    if http:
        serve_http(url, key, host, port, allow_host or ())
    else:
        serve_stdio(url, key)


@app.command("exec", cls=HandedOver)
def execute(context: typer.Context) -> None:
    """Run a job, and tell a gateway how it went. As the script at /cli does, for hosts without Python."""
    hand_over("exec", context.args)


@app.command(cls=HandedOver)
def ping(context: typer.Context) -> None:
    """Send one ping to a gateway."""
    hand_over("ping", context.args)


@app.command("approve-wait", cls=HandedOver)
def approve_wait(context: typer.Context) -> None:
    """Wait at a gateway until people have decided, or ask them first."""
    hand_over("approve-wait", context.args)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[
        Literal["ping", "full"],
        typer.Option(help="`ping` may ping, read trees, ask for approvals; `full` all else too."),
    ] = "full",
    email: OwnerFlag = None,
    data_dir: DataDirFlag = None,
) -> None:
    """Make an API key and print it, and nothing else, on standard output."""
    from cli.identities import new_key

    typer.echo(_run(new_key(_database(data_dir), name, scope, email)))


@keys_app.command("list")
def keys_list(email: OwnerFlag = None, data_dir: DataDirFlag = None) -> None:
    """List the keys of an account; their secrets are known to nobody."""
    from cli.identities import keys_of

    for key in _run(keys_of(_database(data_dir), email)):
        used = f"used {key.last_used_at:%Y-%m-%d %H:%M}Z" if key.last_used_at else "never used"
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}Z" if key.revoked_at else used
        typer.echo(f"{key.id}  {key.scope:4}  {key.created_at:%Y-%m-%d}  {state:26}  {key.name}")


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The id that `keys list` shows: what is between ppk_ and the next _.")],
    data_dir: DataDirFlag = None,
) -> None:
    """End a key for good."""
    from cli.identities import end_key

    _run(end_key(_database(data_dir), key_id))
    typer.echo(f"{key_id} is revoked; gateways learn of it within a second.", err=True)


@users_app.command("create")
def users_create(
    email: Annotated[str, typer.Option(help="The address to log in with.")],
    password: Annotated[
        str | None, typer.Option(help="Better left out: others see it in the list of processes.", show_default=False)
    ] = None,
    data_dir: DataDirFlag = None,
) -> None:
    """Make a user. Without --password it is asked for; without a terminal, made up and printed."""
    from cli.identities import generated_password, new_user

    url = _database(data_dir)
    generated = None
    if password is None and sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    elif password is None:
        password = generated = generated_password()
    assert password is not None
    _run(new_user(url, email, password))
    typer.echo(f"{email} may log in.", err=True)
    if generated is not None:
        typer.echo(generated)


def _database(data_dir: Path | None) -> str:
    from cli.environment import database_url, load_settings, with_running_stack

    return database_url(with_running_stack(load_settings(data_dir=data_dir)))


def _configure_logging(settings: Any) -> None:
    from config.logging import configure_logging

    configure_logging(settings)


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)
