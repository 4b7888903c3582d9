"""What a command says, in one line, when it cannot go on."""


class CommandError(Exception):
    """Printed as it is, followed by exit code 1: the message says what is wrong and what to do."""
