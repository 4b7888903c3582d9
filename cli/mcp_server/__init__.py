"""PingPulse's tools for AI agents, over the Model Context Protocol: a client of a gateway, and of nothing else."""
