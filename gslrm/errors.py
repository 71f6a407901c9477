"""The one exception that ends a command with a sentence instead of a traceback."""


class UserError(Exception):
    """Wrong input that the user can cure.

    The message is one sentence or a short list. It names the file or key at fault and says what to do.
    Entry points print it and exit with status 2; library callers may catch it like any exception.
    """


class ToldElsewhere(UserError):
    """The end of a process whose cause another process of the same run tells: commands leave without a word."""
