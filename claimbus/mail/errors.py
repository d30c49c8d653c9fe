"""The room's errors."""

from claimbus.events.errors import UnavailableError


class MailUnavailableError(UnavailableError):
    """The mail server is away, will not have us, or the folder cannot be written. Later it may go."""
