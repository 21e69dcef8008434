"""Download one file over HTTP(S); an interrupted transfer is resumed."""

import re
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from roadseg.prepare.downloads.file_kind import START_BYTES, FileKind
from roadseg.prepare.downloads.partial_file import PartialFile
from roadseg.system.errors import InputError
from roadseg.system.files import attach_path

ATTEMPTS = 5
"""Consecutive attempts with less than PROGRESS after which the download fails."""
PROGRESS = 1 << 20
"""Bytes; an interrupted attempt that received as many does not count as failed."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and seconds without a byte."""

_MAX_WAIT = 300.0
"""Longest Retry-After that is honored, in seconds."""
_CHUNK = 1 << 20  # bytes
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


def download(
    url: str,
    path: Path,
    limit: int,
    kind: FileKind,
    *,
    pause: float = 1.0,
    timeout: tuple[float, float] = TIMEOUT,
) -> str | None:
    """Download the file at `url` to `path`; resume an interrupted transfer.

    The bytes are in `path`.part until all have arrived. The next call continues from them if the
    server still has the same version (If-Range), whose validator is in `path`.json. A path must not
    be used for another URL, or by two processes at once.

    Args:
        url: http or https, may contain credentials; otherwise ~/.netrc is used.
        path: exists only after every byte has arrived.
        limit: largest number of bytes.
        kind: the kind of file to expect.
        pause: seconds before the second attempt, doubled before each further one.
        timeout: seconds to connect, and seconds without a byte.

    Returns:
        The SHA-256 that the server states for the file, as the Hugging Face Hub does for large
        files; None if it states none. It has not been verified.

    Raises:
        InputError: the server refuses or sends something else, or every attempt failed.
    """
    part = PartialFile(path, kind)
    failures, largest = 0, part.size
    with Session() as session:
        while True:
            try:
                stated = _attempt(session, url, part, limit, timeout)
                part.finish()
                return stated
            except _RetryableError as error:
                # relative to the largest size so far, because restarting is not progress
                failures = 1 if part.size - largest >= PROGRESS else failures + 1
                largest = max(largest, part.size)
                if failures == ATTEMPTS:
                    raise InputError(
                        f"{hide_credentials(url)}: failed {ATTEMPTS} times, last with: {error}; "
                        f"check the network and the proxy (HTTPS_PROXY), or {kind.by_hand}. The "
                        f"next run resumes after {part.size:,} bytes"
                    ) from None
                wait = max(error.wait, pause * 2 ** (failures - 1))
                tqdm.write(f"{kind.stage}: {error}; retrying in {wait:.0f} s")
                time.sleep(wait)


def _attempt(
    session: Session, url: str, part: PartialFile, limit: int, timeout: tuple[float, float]
) -> str | None:
    headers = {"Accept-Encoding": "identity"}  # so that Content-Length is the size of the file
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        with session.get(url, stream=True, timeout=timeout, headers=headers) as response:
            _receive(response, url, part, limit)
            return _stated_sha256(response)
    except _RETRYABLE as error:
        raise _RetryableError(_reason(error)) from None
    except (requests.RequestException, ValueError, OverflowError) as error:  # or a bad header
        reason = _URL_TEXT.sub("...", _reason(error))
        raise InputError(f"{hide_credentials(url)}: cannot be downloaded: {reason}") from None


def _stated_sha256(response: requests.Response) -> str | None:
    """Return the SHA-256 in X-Linked-ETag, which a redirect of the Hugging Face Hub has."""
    for answer in (*response.history, response):
        found = re.fullmatch('"([0-9a-f]{64})"', answer.headers.get("X-Linked-ETag", ""))
        if found:
            return found[1]
    return None


def _receive(response: requests.Response, url: str, part: PartialFile, limit: int) -> None:
    """Append the body of `response` to `part`, or overwrite `part` with it."""
    place = response.headers.get("Content-Range", "")
    if response.status_code == 416 and "Range" in response.request.headers:
        if place == f"bytes */{part.size}":
            return  # nothing is missing
        part.restart("")
        raise _RetryableError("the file on the server has changed")
    _require_success(response, url, part.kind)
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


def _require_success(response: requests.Response, url: str, kind: FileKind) -> None:
    status, reply = response.status_code, f"the server answered {response.status_code}"
    shown = hide_credentials(url)
    if status in _RETRYABLE_STATUS:
        wait = urllib3.Retry().get_retry_after(response.raw) or 0.0
        raise _RetryableError(reply, min(wait, _MAX_WAIT))
    if status in (401, 403, 407):
        raise InputError(f"{shown}: {reply}, permission denied; {kind.by_hand}")
    if status not in (200, 206):
        raise InputError(f"{shown}: {reply}; check the URL, or {kind.by_hand}")


def _validator(response: requests.Response) -> str:
    tag = response.headers.get("ETag", "")
    # a weak ETag does not guarantee identical bytes
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _write_body(
    response: requests.Response, url: str, part: PartialFile, total: int | None, limit: int
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
                while not part.kind.may_start(chunk) and len(chunk) < START_BYTES:
                    if not (more := response.raw.read1(START_BYTES - len(chunk))):
                        break
                    chunk += more
                if not part.kind.may_start(chunk):
                    sent = response.headers.get("Content-Type", "something else")[:100]
                    shown = hide_credentials(url)
                    raise InputError(
                        f"{shown}: the server sent {sent}, not {part.kind.description}; "
                        f"{part.kind.by_hand}"
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
    """Create the error for a file of `count` bytes."""
    text = f"has {count} bytes, but data.max_gigabytes allows {limit:,}; raise it"
    return InputError(f"{hide_credentials(url)}: {text}")


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
