"""One bar beside its number: a share of something, with its words for whoever does not see it."""

from decimal import Decimal

from markupsafe import Markup

from api.dashboard.charts.scales import Number


def share_of(part: Number | None, whole: Number | None) -> float | None:
    """None where either is not known, or the whole is nothing."""
    if part is None or not whole or whole <= 0:
        return None
    return float(Decimal(str(part)) / Decimal(str(whole)))


def meter(share: float | None, tone: str = "f-c1") -> Markup:
    """`share` is from 0 to 1; more fills the bar as 1 does. The number must be beside it in words."""
    width = min(1.0, max(0.0, share or 0.0)) * 100
    return Markup(
        '<svg class="meter" aria-hidden="true" focusable="false">'
        '<rect class="f-none" width="100%" height="100%" rx="4"/>'
        '<rect class="{}" width="{:.2f}%" height="100%" rx="4"/></svg>'
    ).format(tone, width)


def tone_of(share: float | None) -> str:
    """Of something that is used up: whole is bad, nearly so a warning."""
    if share is None or share < 0.75:
        return "f-good"
    return "f-warn" if share < 1 else "f-bad"
