"""Who is asking."""

from dataclasses import dataclass

from domain.accounts import Role
from domain.errors import Forbidden
from domain.keys import KeyScope


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request comes from: an API key, or a user in a browser (`user_id` and `session_id`).

    A key acts for its account with the role `member`; a session has the scope `full`, and its user's `email`.
    """

    account_id: str
    user_id: str | None
    key_id: str | None
    scope: KeyScope
    role: Role
    session_id: str | None = None
    email: str | None = None

    @property
    def caller(self) -> str:
        """What rate limits count by."""
        return self.key_id or self.user_id or self.account_id

    @property
    def who(self) -> str:
        """What audit trails call them."""
        return self.email or f"api-key:{self.key_id}"


def ensure_owner(principal: Principal, account_id: str) -> None:
    """Raises Forbidden unless the resource belongs to the principal's account."""
    if principal.account_id != account_id:
        raise Forbidden("This belongs to another account.")
