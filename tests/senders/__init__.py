"""What leaves the house: senders against real receivers on this machine."""
