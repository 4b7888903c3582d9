"""Time zones to choose from."""

from typing import Final
from zoneinfo import available_timezones

_OTHER_NAMES: Final = ("Etc/", "SystemV/", "posix/", "right/")

ZONES: Final = (
    "UTC",
    *sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(_OTHER_NAMES)),
)
"""Those that are named after places, and UTC. Others are known, too, but nobody need choose them."""
