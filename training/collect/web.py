"""Ask web servers politely: named, one request at a time, paced, cached, and patient when they are busy."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlencode, urlsplit

import certifi

from ...engine.compute.devices import version
from ...engine.outputs import write_atomically
from ...engine.progress import Progress
from ...engine.waiting import patiently
from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr

HOME = "https://plugins.qgis.org/plugins/orthomask/"
TIMEOUT_S = 90.0
"""How long a server may be silent."""
BUSY = {429, 502, 503, 504}
BUSY_WAITS_S = (30.0, 60.0, 120.0)
"""How long to leave a server alone that says it is busy, each time; Overpass's operators want 30 s at least."""
BROKEN_WAITS_S = (2.0, 10.0)
"""How long to wait after an answer that was cut off or made no sense, each time."""
LONGEST_WAIT_S = 600.0
"""A server that wants more is not waited for."""
NOT_THERE = {204, 404, 410}
SLICE_S = 0.5


class Clock:
    """Time, and waiting that can be cancelled."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float, progress: Progress) -> None:
        """Wait; raises `Cancelled` soon after the user cancels."""
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            progress.check_cancelled()
            threading.Event().wait(min(left, SLICE_S))


class Answer(NamedTuple):
    """What a server sent."""

    status: int
    kind: str
    content: bytes
    retry_after_s: float


class _Again(Exception):  # noqa: N818 (it is caught here)
    """A reason to ask once more, and the error if that does not help."""

    def __init__(self, error: OrthomaskError, waits_s: tuple[float, ...], at_least_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.waits_s, self.at_least_s = error, waits_s, at_least_s


@dataclass
class Client:
    """Asks one server. Answers that pass the caller's check are kept in a folder, and never asked for again.

    Attributes:
        cache: folder.
        contact: part of the User-Agent; empty for none.
        pause_s: least time between two requests.
        headers: secret ones, such as an authorization.
        login: user and password, separated by a colon; empty for none.
        asked: how many requests were made.
        done: fraction that the caller has reported, to show while waiting.
    """

    cache: Path
    contact: str
    pause_s: float
    clock: Clock
    progress: Progress
    most_bytes: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    login: str = field(default="", repr=False)
    asked: int = 0
    done: float = 0.0
    _last: float = -1e9

    def fetch(self, name: str, url: str, check: Callable[[Answer], None], data: str = "") -> bytes | None:
        """An answer's content, from the cache or the server; None if the server has nothing there.

        Args:
            name: what is asked, without secrets: the key in the cache.
            check: raises `OrthomaskError` for an answer that makes no sense; it is then asked for again, twice.
            data: to post; empty to get.

        Raises:
            OrthomaskError: there is no network, or the server refuses, stays busy, or sends nonsense.
        """
        kept = self.cache / f"{hashlib.sha256(f'{name} {data}'.encode()).hexdigest()[:32]}"
        if kept.is_file():
            return kept.read_bytes()
        answer = self._patiently(url, check, data)
        if answer.status in NOT_THERE:
            return None
        self.cache.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, answer.content)
        return answer.content

    def _patiently(self, url: str, check: Callable[[Answer], None], data: str) -> Answer:
        tries = 0
        while True:
            try:
                return self._once(url, check, data)
            except _Again as reason:
                if tries >= len(reason.waits_s) or reason.at_least_s > LONGEST_WAIT_S:
                    raise reason.error from None
                wait_s = max(reason.waits_s[tries], reason.at_least_s)
            tries += 1
            self.progress.show(self.done, tr("{} is busy: waiting {:.0f} s").format(host_of(url), wait_s))
            self.clock.sleep(wait_s, self.progress)

    def _once(self, url: str, check: Callable[[Answer], None], data: str) -> Answer:
        self.clock.sleep(self._last + self.pause_s - self.clock.now(), self.progress)
        self.asked += 1
        try:
            answer = patiently(lambda: self._sent(url, data), self.progress)
        except (http.client.IncompleteRead, ConnectionResetError) as error:
            raise _Again(cut_off(url, error), BROKEN_WAITS_S) from error
        except TimeoutError as error:
            raise _Again(_silent(url, error), BROKEN_WAITS_S) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise _Again(_silent(url, error), BROKEN_WAITS_S) from error
            raise unreachable(url, type(error).__name__) from error
        finally:
            self._last = self.clock.now()
        _require_accepted(url, answer)
        if answer.status not in NOT_THERE:
            try:
                check(answer)
            except OrthomaskError as error:
                raise _Again(error, BROKEN_WAITS_S if error.code is ErrorCode.NETWORK else ()) from error
        return answer

    def _sent(self, url: str, data: str) -> Answer:
        body = urlencode({"data": data}).encode() if data else None
        request = urllib.request.Request(url, body, {"User-Agent": agent(self.contact)})  # noqa: S310 (see `_opener`)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)  # another server must not see secrets
        if self.login:
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(self.login.encode()).decode()}")
        try:
            with _opener().open(request, timeout=TIMEOUT_S) as response:
                return self._read(url, response.status, response.headers, response)
        except urllib.error.HTTPError as error:
            with error:
                return self._read(url, error.code, error.headers, error)

    def _read(self, url: str, status: int, headers: Message, response: IO[bytes]) -> Answer:
        parts, size = [], 0
        while part := response.read(1 << 16):
            self.progress.check_cancelled()
            size += len(part)
            if size > self.most_bytes:
                raise _too_long(url, self.most_bytes)
            parts.append(part)
        announced = headers.get("Content-Length", "")
        if announced.isdigit() and size < int(announced):
            raise http.client.IncompleteRead(b"", int(announced) - size)
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        retry = headers.get("Retry-After", "")
        return Answer(status, kind, b"".join(parts), float(retry) if retry.isdigit() else 0.0)


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """What follows addresses of the web, through the system's proxy, and no others."""
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=trusted), urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(), urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def agent(contact: str) -> str:
    """What servers are told about who asks."""
    return f"Orthomask/{version()} (+{HOME}{'; ' + contact if contact else ''})"


def host_of(url: str) -> str:
    """The server of an address, for messages."""
    return urlsplit(url).hostname or url


def is_page(answer: Answer) -> bool:
    """Whether it is a web page, such as the login of a hotel's network."""
    start = answer.content[:512].lstrip().lower()
    return answer.kind in {"text/html", "application/xhtml+xml"} or start.startswith((b"<!doctype html", b"<html"))


def require_no_page(url: str, answer: Answer) -> None:
    """Raise if the answer is a web page."""
    if is_page(answer):
        raise OrthomaskError(
            ErrorCode.SERVER,
            tr("{} answered with a web page instead of data.").format(host_of(url)),
            tr("Log in to your network in a browser, and check the address."),
            _told(answer),
        )


def cut_off(url: str, reason: object) -> OrthomaskError:
    """The error for an answer that ends too soon."""
    return OrthomaskError(
        ErrorCode.NETWORK,
        tr("The answer of {} broke off.").format(host_of(url)),
        tr("Run it again: what was fetched is kept."),
        type(reason).__name__,
    )


def unreachable(url: str, details: str) -> OrthomaskError:
    """The error for a server that cannot be reached."""
    return OrthomaskError(
        ErrorCode.NETWORK,
        tr("{} cannot be reached.").format(host_of(url)),
        tr("Check the network connection and the address, then run it again: what was fetched is kept."),
        details,
    )


def busy(url: str, details: str) -> OrthomaskError:
    """The error for a server that wants to be left alone."""
    return OrthomaskError(
        ErrorCode.SERVER,
        tr("{} is busy or limits how often it is asked.").format(host_of(url)),
        tr("Run it again later: what was fetched is kept."),
        details,
    )


def refused(url: str, details: str) -> OrthomaskError:
    """The error for a server that wants a key, or another one."""
    return OrthomaskError(
        ErrorCode.SERVER,
        tr("{} refused access.").format(host_of(url)),
        tr("Check your key or password, and whether the service allows this."),
        details,
    )


def _silent(url: str, error: Exception) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.NETWORK,
        tr("{} does not answer.").format(host_of(url)),
        tr("Run it again later: what was fetched is kept."),
        type(error).__name__,
    )


def _too_long(url: str, most: int) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.SERVER,
        tr("The answer of {} is larger than {} MB.").format(host_of(url), most >> 20),
        tr("Use smaller areas."),
    )


def _require_accepted(url: str, answer: Answer) -> None:
    """Raise unless the server answered, or has nothing there."""
    host, told = host_of(url), _told(answer)
    if answer.status in BUSY:
        raise _Again(busy(url, told), BUSY_WAITS_S, answer.retry_after_s)
    if answer.status == 406:
        sentence = tr("{} does not accept requests without a contact.").format(host)
        remedy = tr("Enter your e-mail or web address as the contact, or choose another server.")
        raise OrthomaskError(ErrorCode.SERVER, sentence, remedy, told)
    if answer.status in {401, 403, 407}:
        raise refused(url, told)
    if answer.status >= 300 and answer.status not in NOT_THERE:
        sentence = tr("{} answered with the error {}.").format(host, answer.status)
        error = OrthomaskError(ErrorCode.SERVER, sentence, tr("Check the address, or try again later."), told)
        if answer.status >= 500:
            raise _Again(error, BROKEN_WAITS_S)
        raise error


def _told(answer: Answer) -> str:
    return f"{answer.status} {answer.kind}: {answer.content[:300].decode('utf-8', 'replace')}"
