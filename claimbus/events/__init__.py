"""What is said on the bus: events, tickets, routing. Pure; no I/O."""
