"""The ISO's side that tells: events are checked in to the claim store, then published."""
