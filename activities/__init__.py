"""What Temporal workflows may do to the world."""
