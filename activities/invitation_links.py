"""The links that let invited people in: signed, each bound to one sending of one invitation, and kept nowhere."""

from hashlib import sha256
from hmac import compare_digest

from itsdangerous import BadData, URLSafeSerializer

from storage.invitations import Invitation

PREFIX = "/invitations/"


class InvitationLinks:
    """Makes and reads them. `base_url` is where people find PingPulse, without a slash at the end."""

    def __init__(self, secret_key: str, base_url: str) -> None:
        # The salt keeps these signatures apart from all others that are made with the same secret.
        self._signer = URLSafeSerializer(
            secret_key, salt="pingpulse invitation link", signer_kwargs={"digest_method": sha256}
        )
        self.base_url = base_url

    def url(self, invitation: Invitation) -> str:
        """The same whenever it is made, until the invitation is sent again."""
        text = self._signer.dumps([invitation.id, invitation.secret])
        return f"{self.base_url}{PREFIX}{text if isinstance(text, str) else text.decode()}"

    def invitation_id(self, token: str) -> str | None:
        """Of which invitation a token is; None if it was not made by us."""
        found = self._read(token)
        return found[0] if found is not None else None

    def is_of(self, token: str, invitation: Invitation) -> bool:
        """Whether it is of the invitation as it was sent last."""
        found = self._read(token)
        return found is not None and found[0] == invitation.id and compare_digest(found[1], invitation.secret)

    def _read(self, token: str) -> tuple[str, str] | None:
        try:
            found = self._signer.loads(token)
        except BadData:
            return None
        if not isinstance(found, list) or len(found) != 2:
            return None
        return str(found[0]), str(found[1])
