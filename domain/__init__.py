"""Pure rules: no I/O, no clock (`now` is always an argument), no framework."""
