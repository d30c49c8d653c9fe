"""Where received events go: a command, a directory, another server, standard output."""

from claimbus.subscribers.sinks.command import CommandSink
from claimbus.subscribers.sinks.directory import DirectorySink
from claimbus.subscribers.sinks.forward import ForwardSink
from claimbus.subscribers.sinks.sink import Done, Sink
from claimbus.subscribers.sinks.standard_output import StandardOutputSink

__all__ = ["CommandSink", "DirectorySink", "Done", "ForwardSink", "Sink", "StandardOutputSink"]
