"""Download one archive over HTTP(S); an interrupted transfer is resumed."""

import contextlib
import os
import re
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from roadseg.prepare.fetch.archive import START_BYTES, starts_like_archive
from roadseg.system.errors import InputError
from roadseg.system.files import attach_path, read_json, replace_file, write_json

ATTEMPTS = 5
"""Consecutive attempts with less than PROGRESS after which the download fails."""
PROGRESS = 1 << 20
"""Bytes; an interrupted attempt that received as many does not count as failed."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and seconds without a byte."""

_MAX_WAIT = 300.0
"""Longest Retry-After that is honoured, in seconds."""
_CHUNK = 1 << 20  # bytes
_BY_HAND = "download the archive in a browser and set data.source to its path"
_RETRYABLE_STATUS = (408, 425, 429, 500, 502, 503, 504)
_RETRYABLE = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.HTTPError,  # while reading the body from urllib3's response
)
_URL_TEXT = re.compile(r"'.*'(?!\w)|\".*\"|\S*(?:://|[@?]).*")
"""Parts of an error message that may contain a URL: quotations, and from a URL to the end."""


class _RetryableError(Exception):
    """An attempt failed, but the next one may succeed."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # Retry-After, seconds


class Session(requests.Session):
    """requests.Session that follows at most 10 redirects, and none from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the URL to which `resp` redirects, without reading the body of `resp`."""
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()  # requests would read the body, whatever its size
            schemes = urlsplit(resp.url).scheme, urlsplit(urljoin(resp.url, target)).scheme
            if schemes == ("https", "http"):
                urls = hide_credentials(resp.url), hide_credentials(target)
                raise InputError(f"{urls[0]}: insecure redirect from https to {urls[1]!r}")
        return target


class _PartialFile:
    """The bytes of `path` that have been received, in `path`.part, and their validator."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._whole, self._facts = path, path.with_name(f"{path.name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # downloaded before; the server is asked whether it is still current
            os.replace(path, self.path)
        self.path.touch()

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def validator(self) -> str:
        """ETag or date of the version to which the bytes belong; empty if there is none."""
        return read_facts(self._facts).get("validator", "")

    def restart(self, validator: str) -> None:
        """Discard all bytes, before those of another version are written."""
        os.truncate(self.path, 0)
        write_json(self._facts, {"validator": validator})

    def finish(self) -> None:
        """Rename the complete file to its final name."""
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
    """Download the archive at `url` to `path`; resume an interrupted transfer.

    The bytes are in `path`.part until all have arrived. The next call continues from them if the
    server still has the same version (If-Range), whose validator is in `path`.json. A path must not
    be used for another URL, or by two processes at once.

    Args:
        url: http or https, may contain credentials; otherwise ~/.netrc is used.
        path: exists only after every byte has arrived.
        limit: largest number of bytes.
        pause: seconds before the second attempt, doubled before each further one.
        timeout: seconds to connect, and seconds without a byte.

    Raises:
        InputError: the server refuses or sends something else, or every attempt failed.
    """
    part = _PartialFile(path)
    failures, largest = 0, part.size
    with Session() as session:
        while True:
            try:
                _attempt(session, url, part, limit, timeout)
                return part.finish()
            except _RetryableError as error:
                # relative to the largest size so far, because restarting is not progress
                failures = 1 if part.size - largest >= PROGRESS else failures + 1
                largest = max(largest, part.size)
                if failures == ATTEMPTS:
                    raise InputError(
                        f"{hide_credentials(url)}: failed {ATTEMPTS} times, last with: {error}; "
                        f"check the network and the proxy (HTTPS_PROXY), or {_BY_HAND}. The next "
                        f"run resumes after {part.size:,} bytes"
                    ) from None
                wait = max(error.wait, pause * 2 ** (failures - 1))
                tqdm.write(f"fetch: {error}; retrying in {wait:.0f} s")
                time.sleep(wait)


def _attempt(
    session: Session, url: str, part: _PartialFile, limit: int, timeout: tuple[float, float]
) -> None:
    headers = {"Accept-Encoding": "identity"}  # so that Content-Length is the size of the file
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        with session.get(url, stream=True, timeout=timeout, headers=headers) as response:
            _receive(response, url, part, limit)
    except _RETRYABLE as error:
        raise _RetryableError(_reason(error)) from None
    except (requests.RequestException, ValueError, OverflowError) as error:  # or a bad header
        reason = _URL_TEXT.sub("...", _reason(error))
        raise InputError(f"{hide_credentials(url)}: cannot be downloaded: {reason}") from None


def _receive(response: requests.Response, url: str, part: _PartialFile, limit: int) -> None:
    """Append the body of `response` to `part`, or overwrite `part` with it."""
    place = response.headers.get("Content-Range", "")
    if response.status_code == 416 and "Range" in response.request.headers:
        if place == f"bytes */{part.size}":
            return  # nothing is missing
        part.restart("")
        raise _RetryableError("the file on the server has changed")
    _require_success(response, url)
    if response.status_code == 206:
        found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})", place)
        is_same_version = _validator(response) in ("", part.validator)
        if found is None or int(found[1]) != part.size or not is_same_version:
            part.restart("")
            raise _RetryableError("the server sent another range than requested")
        total: int | None = int(found[2])
    else:
        part.restart(_validator(response))
        length = response.headers.get("Content-Length")
        total = None if length is None else int(length)
    if total is not None and total > limit:
        raise too_large_error(url, f"{total:,}", limit)
    _write_body(response, url, part, total, limit)


def _require_success(response: requests.Response, url: str) -> None:
    status, reply = response.status_code, f"the server answered {response.status_code}"
    shown = hide_credentials(url)
    if status in _RETRYABLE_STATUS:
        wait = urllib3.Retry().get_retry_after(response.raw) or 0.0
        raise _RetryableError(reply, min(wait, _MAX_WAIT))
    if status in (401, 403, 407):
        raise InputError(f"{shown}: {reply}, permission denied; {_BY_HAND}")
    if status not in (200, 206):
        raise InputError(f"{shown}: {reply}; check the URL, or {_BY_HAND}")


def _validator(response: requests.Response) -> str:
    tag = response.headers.get("ETag", "")
    # a weak ETag does not guarantee identical bytes
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _write_body(
    response: requests.Response, url: str, part: _PartialFile, total: int | None, limit: int
) -> None:
    received = part.size
    with (
        attach_path(part.path),
        part.path.open("ab") as file,
        tqdm(
            desc="download",
            total=total,
            initial=received,
            unit="B",
            unit_scale=True,
            disable=None,
        ) as bar,
    ):
        while chunk := response.raw.read1(_CHUNK):  # unlike `read`, loses no bytes on an error
            if received == 0:
                while not starts_like_archive(chunk) and len(chunk) < START_BYTES:
                    if not (more := response.raw.read1(START_BYTES - len(chunk))):
                        break
                    chunk += more
                if not starts_like_archive(chunk):
                    kind = response.headers.get("Content-Type", "something else")[:100]
                    shown = hide_credentials(url)
                    raise InputError(
                        f"{shown}: the server sent {kind}, not a zip or tar archive; {_BY_HAND}"
                    )
            received += len(chunk)
            if received > limit:
                raise too_large_error(url, "more", limit)
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and received != total:
        raise _RetryableError(f"{received:,} of {total:,} bytes arrived")


def _reason(error: Exception) -> str:
    """Return the innermost error message on one line; requests and urllib3 wrap it repeatedly."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return " ".join(str(error).split())
        error = inner


def too_large_error(url: str, count: str, limit: int) -> InputError:
    """Create the error for an archive of `count` bytes."""
    shown = hide_credentials(url)
    return InputError(
        f"{shown}: has {count} bytes, but data.max_gigabytes allows {limit:,}; raise it"
    )


def hide_credentials(source: str) -> str:
    """Remove user name, password, query and fragment from a URL, to show or to record it."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = place.partition("/")
    host = authority.rpartition("@")[2]
    if not re.fullmatch(r"\[.*|[^:]*(:[0-9]+)?", host):  # a password with / ? or #, not encoded
        return f"{scheme}://..."
    return f"{scheme}://{host}{slash}{path}"
