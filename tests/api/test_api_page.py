"""docs/api.md names every kind of alert there is, each line that a budget has, and none that is not."""

import re
from pathlib import Path
from typing import Any

from domain import approval_alerts, budget_alerts, instance_alerts, process_alerts, pulse_alerts
from domain.alerts import KINDS
from domain.budgets import Action, Rule

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()

NOUNS = (approval_alerts, budget_alerts, instance_alerts, process_alerts, pulse_alerts)
"""Each registers its kinds when it is imported."""


def names_in(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def section(title: str) -> str:
    """Up to the next title."""
    text = PAGE.split(f"\n{title}\n")[1]
    return re.split(r"\n#+ ", text)[0]


def test_every_kind_of_alert_is_there_with_its_severity() -> None:
    assert all(noun.__name__.endswith("_alerts") for noun in NOUNS)
    rows: dict[str, Any] = {}
    for names, severity in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\w+) \|", section("## Alerts"), re.MULTILINE):
        rows.update(dict.fromkeys(names_in(names), severity))
    assert rows == {name: kind.severity.value for name, kind in KINDS.items()}


def test_every_line_of_a_budget_is_there_with_its_alert_type() -> None:
    budgets = section("### Budgets")
    assert set(re.findall(r"\| `(\w+)` \|$", budgets, re.MULTILINE)) == set(Rule)
    assert set(re.findall(r"^- `(\w+)`", budgets, re.MULTILINE)) == set(Action)
