"""The page on which people decide: rendered here, without a script, and only its own forms change anything."""
