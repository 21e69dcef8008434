"""Work for several threads or processes, of which only a little is waiting at any time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """What `function` gives for each of `items`, in their order, worked out by `pool`.

    Memory does not grow with their number: no more than `ahead` are taken before they are due.

    Raises:
        Whatever `function` does, for the first of them; what is still waiting is not begun.
    """
    due: deque[Future[Result]] = deque()
    try:
        for item in items:
            due.append(pool.submit(function, item))
            if len(due) >= ahead:
                yield due.popleft().result()
        while due:
            yield due.popleft().result()
    finally:
        for waiting in due:
            waiting.cancel()
