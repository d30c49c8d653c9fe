"""The root of the error tree.

Every room derives its own errors from one of these, so a caller can tell in one ``except`` whether the
input, the configuration or an outside service is at fault.
"""


class ClaimbusError(Exception):
    """Root of everything that claimbus raises on purpose."""


class InvalidInputError(ClaimbusError):
    """Input that will never be accepted as it is. ``field`` names the part at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidEventError(InvalidInputError):
    """An event that breaks the catalogue or the wire format; refused before check-in."""


class InvalidTicketError(InvalidInputError):
    """An AMQP message that is no ticket; it becomes a dead letter with its bytes."""


class InvalidFeedError(InvalidInputError):
    """A snapshot that cannot be read or that must not be believed (empty, truncated)."""


class ConfigurationError(InvalidInputError):
    """A setting that stops the start; ``field`` is the setting's name."""


class UnavailableError(ClaimbusError):
    """An outside service does not answer, refuses or is full. Trying again later may succeed."""
