"""claimbus: an electricity ISO tells its market participants at once that something changed."""
