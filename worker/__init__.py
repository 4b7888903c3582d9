"""Runs the Temporal workflows and their activities."""
