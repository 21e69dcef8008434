"""Asking a server over http(s), on guard: redirects, statuses, and what may pass if tried again."""

import contextlib
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from roadseg.system.errors import InputError

LONGEST_WAIT = 300.0
"""Seconds that a server may ask us to wait; beyond, the user is told."""
BY_HAND = "download the zip in a browser and set data.source to its path"

_MOST_REDIRECTS = 10
_PASSING = (
    *(requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError),
    *(urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError),
)
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # statuses that another attempt may not meet


class RetryableError(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asks for


class Session(requests.Session):
    """Follows no redirect by itself: it would read its body, of whatever size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, for no redirect is seen."""

    @contextlib.contextmanager
    def answer(
        self, url: str, headers: dict[str, str], timeout: tuple[float, float]
    ) -> Iterator[requests.Response]:
        """To a GET, its body not read yet; redirects are followed as `followed` says."""
        for _ in range(_MOST_REDIRECTS + 1):
            with self.get(url, stream=True, timeout=timeout, headers=headers) as response:
                target = super().get_redirect_target(response)
                if target is None:
                    yield response
                    return
            url = resolve_redirect(url, target)
        raise InputError(f"{url}: after {_MOST_REDIRECTS} redirects there is another one")


def resolve_redirect(url: str, target: str) -> str:
    """Where a redirect leads. Raises InputError if out of http(s), or from https to http."""
    place = urljoin(url, target)
    before, after = urlsplit(url).scheme, urlsplit(place).scheme
    if after not in ("http", "https") or (before, after) == ("https", "http"):
        raise InputError(
            f"{url}: redirects to {target[:200]!r}; from {before} that is not followed"
        )
    return place


def require_ok(response: requests.Response, url: str) -> None:
    """Raise where the status is no success."""
    status, said = response.status_code, f"the server answers {response.status_code}"
    if status in _BUSY:
        with contextlib.suppress(urllib3.exceptions.InvalidHeader):
            wait = urllib3.Retry(retry_after_max=10**9).get_retry_after(response.raw) or 0.0
            if wait > LONGEST_WAIT:
                raise InputError(f"{url}: {said} and asks to wait {wait:.0f} s; run it again then")
            raise RetryableError(said, wait)
        raise RetryableError(said)
    if status in (401, 403, 407):
        raise InputError(f"{url}: {said}: not without a permission; {BY_HAND}")
    if status not in (200, 206):
        raise InputError(f"{url}: {said}; check the URL, or {BY_HAND}")


@contextlib.contextmanager
def classify_errors(url: str) -> Iterator[None]:
    """Whatever fails within, of the connection or in what the server says, as one of our errors."""
    try:
        yield
    except (
        *(requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OverflowError),
    ) as error:  # the last two: of numbers, dates and names in headers
        if isinstance(error, _PASSING):  # also of a body
            raise RetryableError(_innermost(error)) from None
        raise InputError(f"{url}: cannot be downloaded: {_innermost(error)}") from None


def _innermost(error: Exception) -> str:
    """The reason inside what requests and urllib3 wrap round it, on one line."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return " ".join(str(error).split())
        error = inner
