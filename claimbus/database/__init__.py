"""What the ISO keeps: participants and their entitlements, endpoints, attempts, parked events, the audit.

`Database` opens and runs transactions; each module beside it holds the plain functions of one subject, which
take the transaction's connection and give back immutable values.
"""

from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.errors import DatabaseUnavailableError, DuplicateError, NotFoundError, SchemaError

__all__ = ["Act", "Database", "DatabaseUnavailableError", "DuplicateError", "NotFoundError", "SchemaError"]
