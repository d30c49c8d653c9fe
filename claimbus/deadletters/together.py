"""Several things at a time, in the place of `asyncio.TaskGroup`.

In Python 3.11.2, which Debian 12 has, a TaskGroup that ends with an error while it waits leaves a request to
cancel on its task: every `asyncio.timeout` after it raises CancelledError in place of TimeoutError.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run these side by side; the first error is raised, once the others have been cancelled."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
