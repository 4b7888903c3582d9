"""The links that approvers get by mail: signed, each bound to one approval and one approver."""

from hashlib import sha256
from typing import Final

from itsdangerous import BadData, URLSafeSerializer

from domain.approval_alerts import page_path

TOKEN: Final = "token"
"""The query parameter. Our logs leave queries out, and tokens in other places too."""


class ApprovalLinks:
    """Makes and reads them. A link is the same whenever it is made, so a repeated mail is the same mail; how long it
    may decide is for the approval to say. `base_url` is where people find PingPulse, without a slash at the end."""

    def __init__(self, secret_key: str, base_url: str) -> None:
        # The salt keeps these signatures apart from all others that are made with the same secret.
        self._signer = URLSafeSerializer(
            secret_key, salt="pingpulse approval link", signer_kwargs={"digest_method": sha256}
        )
        self.base_url = base_url

    def token(self, approval_id: str, approver: str) -> str:
        text = self._signer.dumps([approval_id, approver])
        return text if isinstance(text, str) else text.decode()

    def url(self, approval_id: str, approver: str) -> str:
        """The approver's own page. Whoever has it may decide in the approver's name."""
        return f"{self.page(approval_id)}?{TOKEN}={self.token(approval_id, approver)}"

    def page(self, approval_id: str) -> str:
        """The same page for whoever still has to say who they are."""
        return f"{self.base_url}{page_path(approval_id)}"

    def approver(self, approval_id: str, token: str) -> str | None:
        """Whom a token was made for; None if it was not made by us, or for another approval."""
        try:
            found = self._signer.loads(token)
        except BadData:
            return None
        if not isinstance(found, list) or len(found) != 2 or found[0] != approval_id:
            return None
        return str(found[1])
