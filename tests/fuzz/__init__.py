"""What decodes bytes from outside is given bytes that nobody meant."""
