"""What of an approval people may choose and edit: ballots that fit what was asked, and forms to fill in."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.approvals import Ballot


def check_ballot(choices: Sequence[str], editable: Mapping[str, Any] | None, payload: Any, ballot: Ballot) -> Ballot:
    """The ballot as it is to be kept."""
    return ballot
