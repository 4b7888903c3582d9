"""What an account's audit trail tells, in words."""

from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final[Mapping[str, str]] = {
    "login": "Logged in",
    "login.by_link": "Logged in by a one-time link",
    "login.link_made": "Made a one-time login link for {email}",
    "second_factor.failed": "Gave the right password and a wrong code",
    "second_factor.recovery_code_used": "Used a recovery code; {codes_left} left",
    "second_factor.on": "Turned two-factor login on",
    "second_factor.off": "Turned two-factor login off",
    "second_factor.reset": "Reset the two-factor login of {email}",
    "second_factor.recovery_codes_renewed": "Made new recovery codes",
    "session.ended": "Ended one of their sessions",
    "sessions.ended": "Logged out everywhere else: {ended} sessions ended",
    "password.changed": "Changed their password",
    "email.changed": "Changed their e-mail address from {before} to {after}",
    "member.joined": "Joined as {role}, invited by {invited_by}",
    "member.added": "Added {email} as {role}",
    "member.role_changed": "Made {email}, who was {before}, {after}",
    "member.removed": "Removed {email}",
    "invitation.created": "Invited {email} as {role}",
    "invitation.resent": "Sent the invitation of {email} again",
    "invitation.revoked": "Revoked the invitation of {email}",
    "key.created": "Created the API key “{name}” with the scope {scope}",
    "key.revoked": "Revoked the API key “{name}”",
    "instance.forked": "Forked the instance {name} as {made}",
    "instance.rerun": "Asked for a rerun of the instance {name}, as {made}",
    "instance.resumed": "Resumed the instance {name}",
    "instance.imported": "Imported the instance {name}",
    "channel.secret_rotated": "Made a new signing secret for the channel “{name}”",
    "account.changed": "Changed the {changed} of the account to “{name}”",
    "time_zone.changed": "Changed the time zone from {before} to {after}",
}
_NOUNS: Final[Mapping[str, str]] = {
    "workflow": "workflow",
    "budget": "budget of the workflow",
    "pulse": "pulse",
    "process_hook": "process hook",
    "channel": "channel",
    "price": "price of",
    "status_page": "status page",
    "retention": "retention",
}
_VERBS: Final = frozenset(("created", "changed", "deleted", "removed", "paused", "resumed", "set"))


def in_words(action: str, details: Mapping[str, Any]) -> str:
    """What was done, such as "Created the workflow “nightly”". Actions that are not known say their own name."""
    template = _WORDS.get(action)
    if template is None:
        noun, _, verb = action.partition(".")
        if noun not in _NOUNS or verb not in _VERBS:
            return action.replace(".", ": ").replace("_", " ").capitalize()
        name = details.get("name")
        return f"{verb.capitalize()} the {_NOUNS[noun]}" + (f" “{name}”" if name else "")
    return template.format_map(_Lenient(details))


class _Lenient(dict[str, Any]):
    """Entries of earlier versions may lack a detail."""

    def __missing__(self, name: str) -> str:
        return "?"
