"""Secrets of channels at rest."""

from collections.abc import Callable

import pytest

from storage.vault import Vault, VaultError
from tests.support.stack import SECRET

ADDRESS = "https://hooks.slack.example/services/T0/B0/größe-and-🔑"


def test_what_goes_in_comes_out() -> None:
    token = Vault(SECRET).encrypt(ADDRESS)
    assert b"hooks" not in token
    assert Vault(SECRET).decrypt(token) == ADDRESS


def test_the_same_text_never_looks_the_same() -> None:
    vault = Vault(SECRET)
    assert vault.encrypt(ADDRESS) != vault.encrypt(ADDRESS)


@pytest.mark.parametrize("damage", [lambda token: token[:-1], lambda token: b"x" + token, lambda _: b""])
def test_another_secret_and_a_damaged_token_are_refused(damage: Callable[[bytes], bytes]) -> None:
    token = Vault(SECRET).encrypt(ADDRESS)
    with pytest.raises(VaultError, match="PINGPULSE_SECRET_KEY") as raised:
        Vault(SECRET + "!").decrypt(token)
    assert raised.value.__cause__ is None
    with pytest.raises(VaultError):
        Vault(SECRET).decrypt(damage(token))
