"""Downloading one archive over http(s), whole or not at all; what has come is not fetched again."""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import IO

import requests
from tqdm import tqdm

from roadseg.prepare.fetch.http import BY_HAND, RetryableError, Session, classify_errors, require_ok
from roadseg.system.errors import InputError
from roadseg.system.files import attach_path, read_json, replace_file, write_json

ATTEMPTS = 5
"""In a row that bring less than PROGRESS."""
PROGRESS = 1 << 20
"""Bytes that make an attempt a good one, however it ended."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, seconds without a byte."""

_CHUNK = 1 << 20  # bytes
_ZIP = b"PK"  # its first bytes
_UNREACHABLE = f"check the network and the proxy (HTTPS_PROXY), or {BY_HAND}"


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
        """Rename the complete download to its final name."""
        replace_file(self.path, self._whole)


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
    with Session() as session:
        while True:
            try:
                _transfer(session, url, part, limit, timeout)
                return part.finish()
            except RetryableError as error:
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
    with classify_errors(url), session.answer(url, headers, timeout) as response:
        if response.status_code == 416 and "Range" in headers:
            return _require_whole(response, part)
        require_ok(response, url)
        total = _begun(response, part)
        if total is not None and total > limit:
            raise InputError(too_large(url, f"{total:,}", limit))
        _write_body(response, url, part, total, limit)


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
            raise RetryableError("the server sent another part than was asked for")
        return int(found[2])
    part.begin(validator if plain else "")
    length = headers.get("Content-Length", "")
    return int(length) if plain and re.fullmatch(r"[0-9]{1,18}", length) else None


def _require_whole(response: requests.Response, part: _Part) -> None:
    """After "range not satisfiable": nothing is missing where the whole has the part's size."""
    if response.headers.get("Content-Range") != f"bytes */{part.size()}":
        part.begin("")
        raise RetryableError("the file on the server is another one than before")


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
                raise InputError(too_large(url, "more", limit))
            _write(file, chunk)
            bar.update(len(chunk))
    if total is not None and received != total:
        raise RetryableError(f"{received:,} of {total:,} bytes came")


def _write(file: IO[bytes], chunk: bytes) -> None:
    with attach_path(Path(file.name)):
        file.write(chunk)
        file.flush()


def _require_zip(first: bytes, response: requests.Response, url: str) -> None:
    if not first.startswith(_ZIP):
        kind = response.headers.get("Content-Type", "something else")[:100]
        raise InputError(f"{url}: the server sent {kind}, no zip archive; {BY_HAND}")


def too_large(url: str, count: str, limit: int) -> str:
    """The message about an archive of `count` bytes."""
    return f"{url}: has {count} bytes, allowed are {limit:,}; raise data.max_gigabytes if it may"
