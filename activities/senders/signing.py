"""JSON that its receiver can verify, signed as https://www.standardwebhooks.com has it."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks import Webhook

from activities.outgoing import Outgoing
from activities.senders.base import Receipt


async def post_signed(
    outgoing: Outgoing, url: str, content: object, *, message_id: str, secrets: Iterable[str], now: datetime
) -> Receipt:
    """Posts once. Receivers refuse old signatures, so each attempt is signed anew, and dated `now`; the `message_id`
    stays the same, so that they can tell a repetition."""
    # Not orjson, which refuses numbers of more than 64 bits, and Postgres gives back whatever somebody has sent.
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json"} | _signature_headers(message_id, body, secrets, now)
    return await outgoing.post(url, body, headers)


def _signature_headers(message_id: str, body: bytes, secrets: Iterable[str], now: datetime) -> dict[str, str]:
    """One signature for each secret, so that receivers may take the old or the new one while it is being changed."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(now.timestamp()))}
    signatures = [Webhook(secret).sign(message_id, now.astimezone(UTC), body.decode()) for secret in secrets]
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})
