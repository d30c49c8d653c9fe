"""Mail: the only room that speaks SMTP."""
