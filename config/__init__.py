"""Settings, logging, the clock and the Temporal client, shared by every process."""
