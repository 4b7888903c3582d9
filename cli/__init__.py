"""The `pingpulse` command."""
