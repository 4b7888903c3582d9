"""Where the command-line client is: one shell script, which the gateway serves and `pingpulse exec` hands over to."""

from pathlib import Path
from typing import Final

CLIENT_SCRIPT: Final = Path(__file__).with_name("pingpulse.sh")
