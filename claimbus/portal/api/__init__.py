"""The desk on HTTP: ``/v1``, for programs. What somebody may do is judged at the desk, not here."""
