"""Moses' n-best lists through the service, in blocks, several of them in flight, compressed on the way.

    rescore.py <lists.nbest >rescored.nbest

The lists are never in memory as a whole: at most --in-flight blocks are. They come out in their order.

NBEST_URL    where the service is; http://nbest:8000
NBEST_KEY    a key of the service, where it wants one
"""

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from nbest_client import Client, NbestClientError, RescoredText


def blocks(lines: Iterable[bytes], least: int) -> Iterator[tuple[int, bytes]]:
    """Whole lists, of at least so many lines together, with the number of their first line.

    The lines of a list have the same number in front.
    """
    block: list[bytes] = []
    first, segment = 1, None
    for line in lines:
        number = line.partition(b"|||")[0].strip(b" ")
        if number != segment and len(block) >= least:
            yield first, b"".join(block)
            first, block = first + len(block), []
        segment = number
        block.append(line)
    if block:
        yield first, b"".join(block)


def main() -> None:
    """Standard input to standard output; ends at a block that the service refuses, and names it."""
    parser = argparse.ArgumentParser(description="Moses' n-best lists through the service.")
    parser.add_argument("--model", default="base", help="of the service; base")
    parser.add_argument("--weights", help="a weight set of the service; without it untuned")
    parser.add_argument("--top", type=int, help="most hypotheses of a list; all")
    parser.add_argument("--block", type=int, default=4000, help="lines a request, about; 4000")
    parser.add_argument("--in-flight", type=int, default=3, help="requests at a time; 3")
    given = parser.parse_args()

    ahead: deque[tuple[int, Future[RescoredText]]] = deque()

    warned: set[str] = set()

    def write_first() -> None:
        line, answer = ahead.popleft()
        try:
            found = answer.result()
        except NbestClientError as error:
            sys.exit(f"block from line {line} on: {error}")
        if found.warnings and found.warnings not in warned:
            print(found.warnings, file=sys.stderr)
            warned.add(found.warnings)
        sys.stdout.buffer.write(found.text.encode())
        sys.stdout.buffer.flush()

    url = os.environ.get("NBEST_URL") or "http://nbest:8000"
    with Client(url, compress=True) as client, ThreadPoolExecutor(given.in_flight) as pool:
        try:
            for line, block in blocks(sys.stdin.buffer, given.block):
                options = {"models": [given.model], "weights": given.weights, "top_k": given.top}
                ahead.append((line, pool.submit(client.rescore_text, block, **options)))
                if len(ahead) == given.in_flight:
                    write_first()
            while ahead:
                write_first()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


if __name__ == "__main__":
    main()
