"""The error that bad user input raises."""


class InputError(ValueError):
    """
    A file, a line or an option the user gave cannot be used.

    The message is one complete line that names what was given, the rule it breaks and the value found, so that a command can
    print it as it is.
    """
