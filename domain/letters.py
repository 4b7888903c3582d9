"""What PingPulse writes to somebody in particular, not through a channel: about an approval, or an invitation."""

from enum import StrEnum


class LetterTopic(StrEnum):
    REQUEST = "request"
    """To an approver: please decide."""

    REMINDER = "reminder"
    """To an approver who has not voted yet."""

    ESCALATION = "escalation"
    """To somebody who is an approver from now on, because nobody else has decided."""

    LINK = "link"
    """To an approver who asked for their link on the page."""

    CODE = "code"
    """To an approver: the code that the page asks for."""

    CALLBACK = "callback"
    """To the requester's program, by a signed webhook: how it ended."""

    INVITATION = "invitation"
    """To somebody who may become a member of an account. This one is about no approval."""
