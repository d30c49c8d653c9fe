"""How fast it is, beside C and beside what one would write by hand, in one run on the same servers."""
