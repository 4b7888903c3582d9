"""The Temporal workflows: durable state machines that fold pings with the rules of `domain`."""
