"""The cyclic garbage collector, told when to look.

By default it looks after every so many new objects, and walks the hundreds that each group in work
is made of again and again, while nobody is answered: with 1,024 groups in flight that took a fourth
of all time. They are in no cycle, and a group that fails leaves none; so it looks by the clock, for
what libraries leave when a call times out.
"""

import asyncio
import gc

EVERY_S = 20.0
_AT_THE_LATEST_AFTER = 1_000_000  # new objects that nobody has freed


def freeze_gc() -> None:
    """Leave alone what is there before any request, and what comes until `collect_periodically`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_AT_THE_LATEST_AFTER, 10, 10)


async def collect_periodically() -> None:
    """Look at everything, by the clock."""
    while True:
        await asyncio.sleep(EVERY_S)
        gc.collect()
