"""What may become of asking a platform for something, beside `NotNow`: the few words that matter to a bot."""


class Rejected(Exception):
    """The platform will not do this, asked as often as one likes; the words are its own, and the code if it has any."""

    def __init__(self, words: str, code: int = 0) -> None:
        super().__init__(words)
        self.code = code


class Barred(Exception):
    """This bot may not write there: it was blocked or removed, or has no right to."""


class Unauthorized(Exception):
    """The token is not, or no longer, a bot's."""


class Unreachable(Exception):
    """The platform was not reached, or its answer was not readable; whether it did what was asked is not known."""
