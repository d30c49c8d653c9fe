"""What `claimbus subscribe` and `claimbus receive` run for each event with ``--exec``: yours to change.

The body is on standard input, what it is about in the environment. The event is acked when this ends with 0;
otherwise it comes again.
"""

import os
import sys

body = sys.stdin.buffer.read()
print(os.environ["CE_TYPE"], os.environ.get("CE_SUBJECT", ""), body.decode(errors="replace"))
