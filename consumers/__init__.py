"""The way to the participants: redeem, deliver, judge; then ack, retry, hold or dead-letter."""
