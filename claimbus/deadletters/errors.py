"""What can go wrong with dead letters."""

from claimbus.events.errors import ClaimbusError


class BodyGoneError(ClaimbusError):
    """A letter's body is neither in Redis nor in the database any more, or never was in either."""


class NotPermittedError(ClaimbusError):
    """Whoever asks may not see this."""
