"""A process that appends until it is killed, and acknowledges each append on stdout only after it returned.

Usage: writer.py STATE_DIR [URL]
"""

import asyncio
import sys
from pathlib import Path

from sane.core.events import Event
from sane.store import open_store


async def write(state_dir: Path, url: str | None) -> None:
    store = await open_store(url, state_dir)

    async def append(writer: int) -> None:
        number = 0
        while True:
            number += 1
            data = {"text": f"{writer}:{number}"}
            events = [Event("message", 1, "web", f"d{writer}", data={**data, "part": part}) for part in range(3)]
            stored = await store.append(events)
            sys.stdout.write(f"{stored[0].seq} {writer}:{number}\n")
            sys.stdout.flush()

    await asyncio.gather(*(append(writer) for writer in range(3)))


asyncio.run(write(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
