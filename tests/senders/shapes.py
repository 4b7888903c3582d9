"""The documented shapes of what services take, as JSON schemas.

Slack: https://docs.slack.dev/reference/block-kit/blocks and https://docs.slack.dev/legacy/legacy-messaging/
legacy-secondary-message-attachments. Discord: https://discord.com/developers/docs/resources/webhook#execute-webhook
and https://discord.com/developers/docs/resources/message#embed-object. PagerDuty:
https://developer.pagerduty.com/docs/send-alert-event.
"""

from typing import Any

import jsonschema


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _text(longest: int, shortest: int = 1) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest}


_TIMESTAMP = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
_LINK = {"type": "string", "pattern": "^https?://"}

_SLACK_TEXT = _object(["type", "text"], type={"const": "mrkdwn"}, text=_text(3000), verbatim={"type": "boolean"})
_SLACK_BLOCK = {
    "oneOf": [
        _object(["type", "text"], type={"const": "section"}, text=_SLACK_TEXT),
        _object(
            ["type", "elements"],
            type={"const": "context"},
            elements={"type": "array", "minItems": 1, "maxItems": 10, "items": _SLACK_TEXT},
        ),
    ]
}
SLACK = _object(
    ["text"],
    text=_text(40_000),
    attachments={
        "type": "array",
        "maxItems": 100,
        "items": _object(
            ["blocks"],
            color={"type": "string", "pattern": "^#[0-9a-f]{6}$"},
            blocks={"type": "array", "minItems": 1, "maxItems": 50, "items": _SLACK_BLOCK},
        ),
    },
)

DISCORD = _object(
    ["content"],
    content=_text(2000),
    embeds={
        "type": "array",
        "maxItems": 10,
        "items": _object(
            [],
            title=_text(256),
            description=_text(4096),
            url=_LINK,
            timestamp=_TIMESTAMP,
            color={"type": "integer", "minimum": 0, "maximum": 0xFFFFFF},
        ),
    },
    allowed_mentions=_object(["parse"], parse={"type": "array", "maxItems": 0}),
)

PAGERDUTY = _object(
    ["routing_key", "event_action", "payload"],
    routing_key={"type": "string", "minLength": 32, "maxLength": 32},
    event_action={"enum": ["trigger", "acknowledge", "resolve"]},
    dedup_key=_text(255),
    client={"type": "string"},
    client_url=_LINK,
    links={"type": "array", "items": _object(["href"], href=_LINK, text={"type": "string"})},
    payload=_object(
        ["summary", "source", "severity"],
        summary=_text(1024),
        source=_text(1024),
        severity={"enum": ["critical", "error", "warning", "info"]},
        timestamp=_TIMESTAMP,
        component={"type": "string"},
        group={"type": "string"},
        **{"class": {"type": "string"}},
        custom_details={"type": "object"},
    ),
)


def check(content: Any, shape: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(shape).validate(content)


def embed_characters(content: dict[str, Any]) -> int:
    """Discord allows 6000, over all embeds of a message."""
    return sum(len(embed.get("title", "")) + len(embed.get("description", "")) for embed in content["embeds"])
