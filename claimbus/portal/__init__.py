"""The HTTP face of the bus: claims, streams and events for other programs."""
