"""The one exception for mistakes of the user; the command line shows it as a sentence, without a traceback."""


class UserError(ValueError):
    """A choice that cannot work: the message says the value, the bound, the reason and the mend."""
