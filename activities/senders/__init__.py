"""How each kind of channel is told: one module a kind, all of the same shape."""
