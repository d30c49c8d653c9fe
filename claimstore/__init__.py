"""The room of Redis: claims, and the small state that all processes share."""

from claimstore.claim import CheckedIn, Claim, ClaimStat, new_claim_id
from claimstore.store import ClaimStore

__all__ = ["CheckedIn", "Claim", "ClaimStat", "ClaimStore", "new_claim_id"]
