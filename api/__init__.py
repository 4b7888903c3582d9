"""The gateway: HTTP in, journal rows out."""
