"""Keeps secrets of channels so that the database alone gives none away."""

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class VaultError(Exception):
    """What was stored cannot be read with this key."""


class Vault:
    """Encrypts with a key of its own, derived from the operator's secret."""

    def __init__(self, secret_key: str) -> None:
        # The secret signs sessions too; what is derived for one purpose tells nothing about the other.
        key = HKDF(SHA256(), length=32, salt=None, info=b"pingpulse channels").derive(secret_key.encode())
        self._fernet = Fernet(urlsafe_b64encode(key))

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        """Raises VaultError if it was encrypted with another secret, or is damaged."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise VaultError(
                "PINGPULSE_SECRET_KEY is not the one that this channel's secrets were encrypted with; "
                "set the earlier one again, or enter the channel's address anew."
            ) from None
