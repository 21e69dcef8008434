"""Download one zip archive over HTTP(S); an interrupted transfer is resumed."""

import contextlib
import os
import re
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from roadseg.system.errors import InputError
from roadseg.system.files import attach_path, read_json, replace_file, write_json

ATTEMPTS = 5
"""Consecutive attempts that bring less than PROGRESS, after which the download fails."""
PROGRESS = 1 << 20
"""Bytes after which an interrupted attempt does not count as failed."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and seconds without a byte."""

_MAX_WAIT = 300.0
"""Seconds that a server may ask us to wait."""
_CHUNK = 1 << 20  # bytes
_ZIP = b"PK"  # first bytes of a zip archive
_BY_HAND = "download the zip in a browser and set data.source to its path"
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # status codes of errors that may pass
_RETRYABLE = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.HTTPError,  # also of the body, which is read from urllib3's response
)


class _RetryableError(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asks for


class Session(requests.Session):
    """requests.Session that follows at most 10 redirects, and none from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()  # requests would read the body, whatever its size
            schemes = urlsplit(resp.url).scheme, urlsplit(urljoin(resp.url, target)).scheme
            if schemes == ("https", "http"):
                raise InputError(f"{resp.url}: redirects from https to {target[:200]!r}; refused")
        return target


class _PartialFile:
    """The bytes received so far of the file `path`, in `path`.part, and their validator."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._whole, self._facts = path, path.with_name(f"{path.name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # an earlier call finished; the server knows whether it is still current
            os.replace(path, self.path)
        self.path.touch()

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def validator(self) -> str:
        """ETag or date of the version that the bytes belong to; empty if there is none."""
        return read_facts(self._facts).get("validator", "")

    def restart(self, validator: str) -> None:
        """Remove all bytes, because another version follows."""
        os.truncate(self.path, 0)
        write_json(self._facts, {"validator": validator})

    def finish(self) -> None:
        """Rename the file, which is complete."""
        replace_file(self.path, self._whole)


def read_facts(path: Path) -> dict[str, str]:
    """Read a JSON file of strings; empty if it is missing or damaged."""
    with contextlib.suppress(InputError):
        facts = read_json(path)
        if isinstance(facts, dict):
            return {str(key): str(value) for key, value in facts.items()}
    return {}


def download(
    url: str,
    path: Path,
    limit: int,
    *,
    pause: float = 1.0,
    timeout: tuple[float, float] = TIMEOUT,
) -> None:
    """Download the zip archive at `url` to `path`, and resume interrupted transfers.

    The bytes are in `path`.part until all have arrived; the next call resumes from them if the
    server still has the same version of the file (If-Range), whose validator is in `path`.json. A
    path belongs to one URL and to one process at a time.

    Args:
        url: http or https.
        path: exists only when every byte has arrived.
        limit: largest number of bytes.
        pause: seconds before the second attempt, doubled before each further one.
        timeout: seconds to connect, and seconds without a byte.

    Raises:
        InputError: the server refuses, sends something else, or every attempt failed; names the
            URL, the reason and the fix.
    """
    part = _PartialFile(path)
    failures, largest = 0, part.size
    with Session() as session:
        while True:
            try:
                _attempt(session, url, part, limit, timeout)
                return part.finish()
            except _RetryableError as error:
                # compared with the largest size so far: restarting from 0 is not progress
                failures = 1 if part.size - largest >= PROGRESS else failures + 1
                largest = max(largest, part.size)
                if failures == ATTEMPTS:
                    raise InputError(
                        f"{url}: failed {ATTEMPTS} times, the last time because {error}; check the "
                        f"network and the proxy (HTTPS_PROXY), or {_BY_HAND}. The next run resumes "
                        f"from {part.size:,} bytes"
                    ) from None
                wait = max(error.wait, pause * 2 ** (failures - 1))
                tqdm.write(f"fetch: {error}; retrying in {wait:.0f} s")
                time.sleep(wait)


def _attempt(
    session: Session, url: str, part: _PartialFile, limit: int, timeout: tuple[float, float]
) -> None:
    headers = {"Accept-Encoding": "identity"}  # so that lengths count what is written
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        with session.get(url, stream=True, timeout=timeout, headers=headers) as response:
            _receive(response, url, part, limit)
    except _RETRYABLE as error:
        raise _RetryableError(_reason(error)) from None
    except (requests.RequestException, ValueError, OverflowError) as error:  # or a bad header
        raise InputError(f"{url}: cannot be downloaded: {_reason(error)}") from None


def _receive(response: requests.Response, url: str, part: _PartialFile, limit: int) -> None:
    """Append the body to `part`, or replace `part` by it."""
    place = response.headers.get("Content-Range", "")
    if response.status_code == 416 and "Range" in response.request.headers:
        if place == f"bytes */{part.size}":
            return  # every byte had arrived
        part.restart("")
        raise _RetryableError("the file on the server has changed")
    _require_success(response, url)
    if response.status_code == 206:
        found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})", place)
        same = found and int(found[1]) == part.size
        if not same or _validator(response) not in ("", part.validator):
            part.restart("")
            raise _RetryableError("the server sent another range than requested")
        total = int(found[2])
    else:
        part.restart(_validator(response))
        length = response.headers.get("Content-Length")
        total = None if length is None else int(length)
    if total is not None and total > limit:
        raise InputError(too_large(url, f"{total:,}", limit))
    _write_body(response, url, part, total, limit)


def _require_success(response: requests.Response, url: str) -> None:
    status, reply = response.status_code, f"the server answers {response.status_code}"
    if status in _BUSY:
        wait = urllib3.Retry().get_retry_after(response.raw) or 0.0
        raise _RetryableError(reply, min(wait, _MAX_WAIT))
    if status in (401, 403, 407):
        raise InputError(f"{url}: {reply}: permission denied; {_BY_HAND}")
    if status not in (200, 206):
        raise InputError(f"{url}: {reply}; check the URL, or {_BY_HAND}")


def _validator(response: requests.Response) -> str:
    tag = response.headers.get("ETag", "")
    # a weak tag does not promise the same bytes
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _write_body(
    response: requests.Response, url: str, part: _PartialFile, total: int | None, limit: int
) -> None:
    received = part.size
    options = {"unit": "B", "unit_scale": True, "disable": None}
    with (
        attach_path(part.path),
        part.path.open("ab") as file,
        tqdm(desc="download", total=total, initial=received, **options) as bar,
    ):
        while chunk := response.raw.read1(_CHUNK):  # what has arrived; `read` loses it on an error
            if received == 0 and not chunk.startswith(_ZIP[: len(chunk)]):
                kind = response.headers.get("Content-Type", "something else")[:100]
                raise InputError(f"{url}: the server sent {kind}, not a zip archive; {_BY_HAND}")
            received += len(chunk)
            if received > limit:
                raise InputError(too_large(url, "more", limit))
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and received != total:
        raise _RetryableError(f"{received:,} of {total:,} bytes arrived")


def _reason(error: Exception) -> str:
    """The innermost reason, which requests and urllib3 wrap several times, on one line."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return " ".join(str(error).split())
        error = inner


def too_large(url: str, count: str, limit: int) -> str:
    """The error message for an archive of `count` bytes."""
    return f"{url}: has {count} bytes, but data.max_gigabytes allows {limit:,}; raise it"
