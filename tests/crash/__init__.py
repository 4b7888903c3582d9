"""What is left of a promise after a `kill -9`: real processes, killed under load."""
