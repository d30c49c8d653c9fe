"""What can go wrong with RabbitMQ, and the one place where pika's errors become ours."""

import shlex
import ssl
from collections.abc import Iterator

from pika import exceptions

from claimbus.events.errors import ClaimbusError, ConfigurationError, UnavailableError


class BrokerUnavailableError(UnavailableError):
    """RabbitMQ cannot be reached, closed the connection or channel, or did not answer within the bound."""


class BrokerBlockedError(UnavailableError):
    """RabbitMQ reads nothing from publishers: a memory or disk alarm is on."""


class UnconfirmedError(UnavailableError):
    """A message was sent and not confirmed: the connection closed, or there was silence within the bound.

    It may have arrived all the same.
    """


class NackedError(UnconfirmedError):
    """RabbitMQ refused the message: a queue is full, or lost its leader."""


class UnroutableError(ClaimbusError):
    """RabbitMQ returned a mandatory message: no queue takes it, so the topology is broken."""


class TopologyError(ClaimbusError):
    """An exchange or queue is not what it should be: missing, declared with other arguments, or forbidden."""


class JournalLifeError(TopologyError):
    """The journal that is there keeps tickets for another time than the claim life, and cannot be changed."""

    def __init__(self, vhost: str, *, keeps: str, wanted: str) -> None:
        super().__init__(
            f"the journal was declared to keep tickets for {keeps}, CLAIMBUS_CLAIM_LIFE is {wanted} by now,"
            f" and RabbitMQ cannot change it. Set CLAIMBUS_CLAIM_LIFE={keeps} again; or stop all producers,"
            f" portals and workers, type 'rabbitmqctl delete_queue -p {shlex.quote(vhost)} journal' and start"
            " them: the journal's history is lost then, nothing from before can be recovered or reconciled"
        )


_WRONG_TOPOLOGY = (403, 404, 405, 406)
"""AMQP 0-9-1 reply codes: access-refused, not-found, resource-locked, precondition-failed."""

_DOWN = "is down or inaccessible"
"""RabbitMQ's words in a 404 for a queue that is there and not up yet, as the journal is after a restart."""


def opening_failed(error: BaseException, address: str) -> ConfigurationError | BrokerUnavailableError:
    """Translate pika's failure to open a connection to ``address`` (host and port)."""
    causes = list(_causes(error))
    text = f"{address}: {_text(causes[-1])}"
    if isinstance(error, exceptions.ProbableAuthenticationError) and "ACCESS_REFUSED" in text:
        return ConfigurationError("amqp_url", f"RabbitMQ at {address} refuses this user name or password")
    if isinstance(error, exceptions.ProbableAccessDeniedError) and "NOT_ALLOWED" in text:
        return ConfigurationError("amqp_url", f"RabbitMQ does not open this vhost to this user; {text}")
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return ConfigurationError("amqp_url", f"RabbitMQ's certificate is not trusted; {text}")
    return BrokerUnavailableError(f"RabbitMQ does not answer at {text}")


def closed(error: BaseException, what: str) -> TopologyError | BrokerUnavailableError:
    """Translate why pika's channel or connection closed under ``what`` (an operation in words)."""
    if (
        isinstance(error, exceptions.ChannelClosedByBroker)
        and error.reply_code in _WRONG_TOPOLOGY
        and _DOWN not in error.reply_text
    ):
        return TopologyError(f"{what}: {error.reply_code} {error.reply_text}")
    if isinstance(error, exceptions.ChannelClosed | exceptions.ConnectionClosed):
        return BrokerUnavailableError(f"{what}: {error.reply_code} {error.reply_text}")
    return BrokerUnavailableError(f"{what}: {_text(error)}")


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk pika's nested errors from the outermost to the cause."""
    nested: BaseException | None = error
    while nested is not None:
        yield nested
        several = getattr(nested, "exceptions", ())
        inner = several[-1] if several else getattr(nested, "exception", None)
        if inner is None and nested.args and isinstance(nested.args[0], BaseException):
            inner = nested.args[0]
        nested = inner
