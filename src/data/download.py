"""Downloading one file over http(s), whole or not at all."""

import time
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from src.files import InputError, replaced_file

ATTEMPTS = 5
"""How often a connection is tried, and how often a transfer that breaks off begins again."""

_TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
_CHUNK = 1 << 20  # bytes
_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)


class _BrokenOffError(Exception):
    """The body ended before it was whole; another attempt may bring all of it."""


def download(url: str, path: Path, pause: float = 1.0) -> None:
    """Write what `url` serves to `path`; a transfer that breaks off starts again.

    Args:
        url: http or https.
        path: takes its name only when every byte has come.
        pause: seconds before the second attempt, doubled before each further one.

    Raises:
        InputError: the server refuses, or each attempt broke off; names the URL and the reason.
    """
    retry = Retry(ATTEMPTS - 1, backoff_factor=pause, status_forcelist=_RETRIED_STATUS)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                return _transfer(session, url, path)
            except _BrokenOffError as error:
                reason = error
            except requests.HTTPError as error:
                status = error.response.status_code
                raise InputError(f"{url}: the server answers {status}; check the URL") from None
            except requests.RequestException as error:
                raise InputError(f"{url}: cannot be reached: {_innermost(error)}") from None
    raise InputError(f"{url}: broke off {ATTEMPTS} times, the last time because {reason}")


def _transfer(session: requests.Session, url: str, path: Path) -> None:
    """One attempt; the session itself tries connections and busy servers again."""
    plain = {"Accept-Encoding": "identity"}  # so that Content-Length counts what is written
    with session.get(url, stream=True, timeout=_TIMEOUT, headers=plain) as response:
        response.raise_for_status()
        stated = response.headers.get("Content-Length", "")
        length = int(stated) if stated.isdecimal() else None
        bar = tqdm(desc="download", total=length, unit="B", unit_scale=True, disable=None)
        with bar, replaced_file(path) as temporary:
            received = _write_body(response, temporary, bar)
            if length is not None and received != length:
                raise _BrokenOffError(f"{received} of {length} bytes came")


def _write_body(response: requests.Response, path: Path, bar: tqdm) -> int:
    """Write the body to `path` and return its number of bytes."""
    received = 0
    with path.open("wb") as file:
        try:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                bar.update(len(chunk))
        except requests.RequestException as error:
            raise _BrokenOffError(_innermost(error)) from None
    return received


def _innermost(error: Exception) -> str:
    """The reason inside what requests and urllib3 wrap round it, on one line."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return " ".join(str(error).split())
        error = inner
