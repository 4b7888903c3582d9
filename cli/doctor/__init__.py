"""`pingpulse doctor`: a list of checks, each of which says one line and, when it fails, the remedy."""

from cli.doctor.registry import Finding, Problem, check, examine

__all__ = ["Finding", "Problem", "check", "examine"]
