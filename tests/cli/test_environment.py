"""Where settings come from, and what is said when they do not fit."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.data_dir import DataDir, Runtime
from cli.environment import child_environment, database_url, load_settings, require_secret_key, with_running_stack
from cli.errors import CommandError
from config.settings import Settings


def test_flags_come_before_variables_and_variables_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PINGPULSE_PORT=1\nPINGPULSE_TEMPORAL_PORT=1\nPINGPULSE_TEMPORAL_UI_PORT=1\n")
    monkeypatch.setenv("PINGPULSE_PORT", "2")
    monkeypatch.setenv("PINGPULSE_TEMPORAL_PORT", "2")
    settings = load_settings(port=3, host=None)
    assert (settings.port, settings.temporal_port, settings.temporal_ui_port) == (3, 2, 1)
    assert settings.host == "127.0.0.1"


def test_what_does_not_fit_is_named_by_its_variable_and_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPULSE_PORT", "70000")
    monkeypatch.setenv("PINGPULSE_SESSION_HOURS", "hunter2")
    with pytest.raises(CommandError) as caught:
        load_settings()
    assert "PINGPULSE_PORT: " in str(caught.value)
    assert "PINGPULSE_SESSION_HOURS: " in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_child_gets_exactly_the_settings_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        port=1234, data_dir=Path("data"), database_url=SecretStr("postgresql://x"), cookie_secure=True
    )
    for name, value in child_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_running_stack_fills_in_what_is_not_set(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    data_dir.path.mkdir()
    secret = data_dir.secret_key(create=True)
    data_dir.write_runtime(Runtime(os.getpid(), "http://x", None, "127.0.0.1:7", "postgresql://embedded"))
    settings = with_running_stack(load_settings(data_dir=data_dir.path))
    assert database_url(settings) == "postgresql://embedded"
    assert settings.temporal_address == "127.0.0.1:7"
    assert settings.secret_key == SecretStr(secret or "")
    external = load_settings(data_dir=data_dir.path, database_url="postgresql://mine", temporal_address="t:1")
    assert database_url(with_running_stack(external)) == "postgresql://mine"
    assert with_running_stack(external).temporal_address == "t:1"


def test_without_a_stack_or_a_database_the_remedy_is_named() -> None:
    with pytest.raises(CommandError, match=r"start `pingpulse up --data-dir nowhere`, or set PINGPULSE_DATABASE_URL"):
        database_url(with_running_stack(load_settings(data_dir=Path("nowhere"))))


@pytest.mark.parametrize("secret", [None, "too short"])
def test_a_secret_key_must_be_long(secret: str | None) -> None:
    with pytest.raises(CommandError, match="PINGPULSE_SECRET_KEY"):
        require_secret_key(Settings(secret_key=secret))
