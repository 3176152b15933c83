"""New connections at a constant rate, each with one HTTP request: what fails is told. Run inside a netns.

    python load.py ADDRESS PORT RATE    until its standard input ends

It prints an empty line once the first connection has had its answer, and a JSON object at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter


async def _exchange(address: str, port: int, outcomes: Counter[str], pods: Counter[str]) -> None:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        if not pods:
            print(flush=True)
        pods[json.loads(answer.partition(b"\r\n\r\n")[2])["pod"]] += 1
        outcomes["ok"] += 1
    except (OSError, TimeoutError, ValueError) as error:
        outcomes[f"{type(error).__name__}: {error}"] += 1


async def _load(address: str, port: int, rate: float) -> None:
    outcomes: Counter[str] = Counter()
    pods: Counter[str] = Counter()
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    tasks: set[asyncio.Task[None]] = set()
    begin, count = time.monotonic(), 0
    while not ended.done():
        due = int((time.monotonic() - begin) * rate)
        for _ in range(max(due - count, 0)):
            task = asyncio.create_task(_exchange(address, port, outcomes, pods))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        count = max(due, count)
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    print(json.dumps({"outcomes": outcomes, "pods": pods, "seconds": time.monotonic() - begin}))


if __name__ == "__main__":
    asyncio.run(_load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
