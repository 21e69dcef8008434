"""Downloading one archive over http(s), whole or not at all; what has come is not fetched again."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from src.files import InputError, read_json, write_json, written

ATTEMPTS = 5
"""In a row that bring less than PROGRESS."""
PROGRESS = 1 << 20
"""Bytes that make an attempt a good one, however it ended."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, seconds without a byte."""
LONGEST_WAIT = 300.0
"""Seconds that a server may ask us to wait; beyond, the user is told."""

_CHUNK = 1 << 20  # bytes
_MOST_REDIRECTS = 10
_ZIP = b"PK"  # its first bytes
_PASSING = (
    *(requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError),
    *(urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError),
)
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # statuses that another attempt may not meet
_BY_HAND = "download the zip in a browser and set data.source to its path"
_UNREACHABLE = f"check the network and the proxy (HTTPS_PROXY), or {_BY_HAND}"


class _BrokenOffError(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asks for


class _Session(requests.Session):
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
            url = followed(url, target)
        raise InputError(f"{url}: after {_MOST_REDIRECTS} redirects there is another one")


def followed(url: str, target: str) -> str:
    """Where a redirect leads. Raises InputError if out of http(s), or from https to http."""
    place = urljoin(url, target)
    before, after = urlsplit(url).scheme, urlsplit(place).scheme
    if after not in ("http", "https") or (before, after) == ("https", "http"):
        raise InputError(
            f"{url}: redirects to {target[:200]!r}; from {before} that is not followed"
        )
    return place


class _Part:
    """What has come of the file that is to be at `whole`, and what is known of it."""

    def __init__(self, whole: Path, url: str) -> None:
        self.path = whole.with_name(f"{whole.name}.part")
        self._facts, self._url, self._whole = whole.with_name(f"{whole.name}.json"), url, whole
        whole.parent.mkdir(parents=True, exist_ok=True)
        if whole.exists():  # of an earlier call; the server knows whether it still is the same
            os.replace(whole, self.path)
        self.path.touch()
        if self.known().get("url") != url:
            self.begin("")

    def known(self) -> dict[str, str]:
        """url, and validator: what tells this version of the file from others, or nothing."""
        with contextlib.suppress(InputError):
            found = read_json(self._facts)
            if isinstance(found, dict):
                return {str(key): str(value) for key, value in found.items()}
        return {}

    def size(self) -> int:
        return self.path.stat().st_size

    def begin(self, validator: str) -> None:
        """Empty it: another version comes."""
        os.truncate(self.path, 0)
        write_json(self._facts, {"url": self._url, "validator": validator})

    def finish(self) -> None:
        """Give it the name of a whole file, once its bytes are on disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self._whole)


def download(
    url: str,
    path: Path,
    limit: int,
    *,
    pause: float = 1.0,
    timeout: tuple[float, float] = TIMEOUT,
) -> None:
    """Write the zip that `url` serves to `path`; a transfer that breaks off is resumed.

    What has come lies in `path`.part until it is whole; the next call uses it, or the whole, where
    the server says that it is of the same version of the file (If-Range). `path`.json has what it
    takes to ask. No other process may do the same at the same time.

    Args:
        url: http or https.
        path: takes its name only when every byte has come.
        limit: largest number of bytes.
        pause: seconds before the second attempt, doubled before each further one.
        timeout: seconds to connect, and without a byte.

    Raises:
        InputError: the server refuses, sends something else, or each attempt broke off; names the
            URL, the reason and what to do.
    """
    part = _Part(path, url)
    failures, most = 0, part.size()
    with _Session() as session:
        while True:
            try:
                _transfer(session, url, part, limit, timeout)
                return part.finish()
            except _BrokenOffError as error:
                # more than ever before: a server that makes us begin anew brings nothing
                failures = 1 if part.size() - most >= PROGRESS else failures + 1
                most = max(most, part.size())
                if failures == ATTEMPTS:
                    raise InputError(
                        f"{url}: failed {ATTEMPTS} times, the last time because {error}; "
                        f"{_UNREACHABLE}. The next run goes on from {part.size():,} bytes"
                    ) from None
                wait = max(error.wait, pause * 2 ** (failures - 1))
                tqdm.write(f"fetch: {error}; tries again in {wait:.0f} s")
                time.sleep(wait)


def _transfer(
    session: requests.Session, url: str, part: _Part, limit: int, timeout: tuple[float, float]
) -> None:
    """One attempt, from where the last one ended, if the file is still the same."""
    headers = {"Accept-Encoding": "identity"}  # so that lengths count what is written
    validator = part.known().get("validator")
    if part.size() and validator:
        headers |= {"Range": f"bytes={part.size()}-", "If-Range": validator}
    try:
        with session.answer(url, headers, timeout) as response:
            if response.status_code == 416 and "Range" in headers:
                return _require_whole(response, part)
            _require_ok(response, url)
            total = _begun(response, part)
            if total is not None and total > limit:
                raise InputError(_too_large(url, f"{total:,}", limit))
            _write_body(response, url, part, total, limit)
    except (
        *(requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OverflowError),
    ) as error:  # the last two: of numbers, dates and names in headers
        if isinstance(error, _PASSING):  # also of a body
            raise _BrokenOffError(_innermost(error)) from None
        raise InputError(f"{url}: cannot be downloaded: {_innermost(error)}") from None


def _require_ok(response: requests.Response, url: str) -> None:
    """Raise where the status is no success."""
    status, said = response.status_code, f"the server answers {response.status_code}"
    if status in _BUSY:
        with contextlib.suppress(urllib3.exceptions.InvalidHeader):
            wait = urllib3.Retry(retry_after_max=10**9).get_retry_after(response.raw) or 0.0
            if wait > LONGEST_WAIT:
                raise InputError(f"{url}: {said} and asks to wait {wait:.0f} s; run it again then")
            raise _BrokenOffError(said, wait)
        raise _BrokenOffError(said)
    if status in (401, 403, 407):
        raise InputError(f"{url}: {said}: not without a permission; {_BY_HAND}")
    if status not in (200, 206):
        raise InputError(f"{url}: {said}; check the URL, or {_BY_HAND}")


def _begun(response: requests.Response, part: _Part) -> int | None:
    """Make `part` ready for the body; the bytes of the whole file, None if that is unknown."""
    headers = response.headers
    plain = headers.get("Content-Encoding", "identity") == "identity"
    tag = headers.get("ETag", "")
    # a weak tag does not promise the same bytes
    validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    if response.status_code == 206:
        place = headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})", place)
        same = validator in ("", part.known().get("validator"))
        if not (found and plain and same and int(found[1]) == part.size()):
            part.begin("")
            raise _BrokenOffError("the server sent another part than was asked for")
        return int(found[2])
    part.begin(validator if plain else "")
    length = headers.get("Content-Length", "")
    return int(length) if plain and re.fullmatch(r"[0-9]{1,18}", length) else None


def _require_whole(response: requests.Response, part: _Part) -> None:
    """After "range not satisfiable": nothing is missing where the whole has the part's size."""
    if response.headers.get("Content-Range") != f"bytes */{part.size()}":
        part.begin("")
        raise _BrokenOffError("the file on the server is another one than before")


def _write_body(
    response: requests.Response, url: str, part: _Part, total: int | None, limit: int
) -> None:
    received = part.size()
    with (
        part.path.open("ab") as file,
        tqdm(
            desc="download", total=total, initial=received, unit="B", unit_scale=True, disable=None
        ) as bar,
    ):
        while chunk := response.raw.read1(_CHUNK, decode_content=True):  # what has come, at once
            if not received:
                while len(chunk) < len(_ZIP) and (more := response.raw.read1(1, True)):
                    chunk += more
                _require_zip(chunk, response, url)
            received += len(chunk)
            if received > limit:
                raise InputError(_too_large(url, "more", limit))
            _write(file, chunk)
            bar.update(len(chunk))
    if total is not None and received != total:
        raise _BrokenOffError(f"{received:,} of {total:,} bytes came")


def _write(file: IO[bytes], chunk: bytes) -> None:
    with written(Path(file.name)):
        file.write(chunk)
        file.flush()


def _require_zip(first: bytes, response: requests.Response, url: str) -> None:
    if not first.startswith(_ZIP):
        kind = response.headers.get("Content-Type", "something else")[:100]
        raise InputError(f"{url}: the server sent {kind}, no zip archive; {_BY_HAND}")


def _too_large(url: str, count: str, limit: int) -> str:
    return f"{url}: has {count} bytes, allowed are {limit:,}; raise data.max_gigabytes if it may"


def _innermost(error: Exception) -> str:
    """The reason inside what requests and urllib3 wrap round it, on one line."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return " ".join(str(error).split())
        error = inner
