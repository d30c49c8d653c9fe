"""Real HTTPS webhook receivers, many in one process, for the demo and for tests.

They verify signatures with the Standard Webhooks library, write down every request before they answer it, and
misbehave as told. ``python -m claimbus.cli.demo.receivers SPEC.json`` runs them as a process of their own.
"""

from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.cli.demo.receivers.group import Receivers
from claimbus.cli.demo.receivers.receiver import Receiver
from claimbus.cli.demo.receivers.record import Received

__all__ = ["Behaviour", "Received", "Receiver", "Receivers"]
