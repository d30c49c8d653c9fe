"""What was given up: kept with its body, grouped, replayed, recovered, reconciled."""
