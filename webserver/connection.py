"""One HTTP connection: checks headers before receiving bodies, and cuts stalled readers."""
# ruff: noqa: N802 - the names are twisted's

import asyncio
import fcntl
import json
import logging
import sys
import termios
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from django.utils.http import http_date
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers

from common.error_codes import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    ErrorCode,
    error_body,
)
from webserver.middleware import count_refused
from webserver.upload_budget import Allowed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

logger = logging.getLogger(__name__)

LINGER_SECONDS = 30
LOOKS = 10  # checks of a stalled reader before it is cut


class Refusal(NamedTuple):
    """A response that is sent before the body is read. `body` is JSON."""

    status: int
    body: bytes
    headers: Iterable[tuple[str, str]] = ()


Check = Callable[[dict[str, str], str, str], Refusal | Allowed]
"""Called in a thread with (headers by lower-case name, method, path) of a request with a body."""
CheckAtOnce = Callable[[dict[str, str], str, str], Allowed | None]
"""Called before `Check`, in the event loop. Returns None if `Check` must decide."""


def refusal(
    kind: ErrorCode, detail: str | None = None, headers: Iterable[tuple[str, str]] = ()
) -> Refusal:
    """A refusal with an error code. `detail` replaces the code's text."""
    return Refusal(kind.status, json.dumps(error_body(kind, detail)).encode(), headers)


class Connection(http.HTTPChannel):
    """Receives requests: headers, then a refusal or 100 Continue, then the body, then the response.

    After a refusal it still reads and discards what the client sends: closing a connection with
    unread bytes resets it, and the client may never see the response. It closes when the client
    does, or after LINGER_SECONDS.
    """

    max_body: int
    stall_seconds: float
    unknown_seconds: float
    ask: Check | None = None
    ask_at_once: CheckAtOnce | None = None

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self._drained = asyncio.Event()
        self._drained.set()
        self._timer: IDelayedCall | None = None
        self._body_timer: IDelayedCall | None = None
        self.allowed = Allowed(0)

    # Before the body

    def allHeadersReceived(self) -> None:
        headers = self.requests[-1].requestHeaders
        if any(b"\0" in value for _, values in headers.getAllRawHeaders() for value in values):
            # HTTP forbids it, and PostgreSQL fails on a query with such a key or session id.
            self.refuse(refusal(BAD_REQUEST, "A header holds a null character."))
        elif self.length == 0:
            super().allHeadersReceived()
        elif self.length is not None and self.length > self.max_body:
            self.refuse_body(self.max_body)
        elif b"websocket" in [each.lower() for each in headers.getRawHeaders(b"upgrade", [])]:
            self.refuse(refusal(BAD_REQUEST, "A websocket's request has no body."))
        elif self.ask is None:
            self._receive(Allowed(self.max_body))
        else:
            self._wait_for(self.ask, headers)

    def _receive(self, allowed: Allowed) -> None:
        """Receive the body up to the allowed size."""
        self.allowed = Allowed(min(allowed.limit, self.max_body), allowed.caller)
        if self.length is not None and self.length > self.allowed.limit:
            self.refuse_body(self.allowed.limit)
            return
        if not allowed.caller:
            # The caller is not known, so the body has a time limit.
            self._body_timer = self.callLater(self.unknown_seconds, self._too_slow)
        super().allHeadersReceived()

    def _send100Continue(self) -> None:
        if not self.refused:  # refused if there is no room for the body
            super()._send100Continue()

    def _too_slow(self) -> None:
        self._body_timer = None
        if self.transport.connected:
            self.refuse(refusal(REQUEST_TIMEOUT))

    def _body_came(self) -> None:
        if self._body_timer is not None and self._body_timer.active():
            self._body_timer.cancel()
        self._body_timer = None

    def _wait_for(self, ask: Check, headers: Headers) -> None:
        plain = {
            name.lower().decode("latin1"): b",".join(values).decode("latin1")
            for name, values in headers.getAllRawHeaders()
        }
        method, path = self._command.decode("latin1"), self._path.decode("latin1")
        path = unquote(path.partition("?")[0])
        if self.ask_at_once and (allowed := self.ask_at_once(plain, method, path)):
            self._receive(allowed)
            return
        self.paused = True
        self.transport.pauseProducing()
        asking = deferToThread(ask, plain, method, path)
        asking.addErrback(self._ask_failed)
        asking.addCallback(self._answered)

    @staticmethod
    def _ask_failed(failure: Failure) -> Refusal:
        logger.error("The check of a request's headers failed", exc_info=failure.value)
        return refusal(INTERNAL_ERROR)

    def _answered(self, answer: Refusal | Allowed) -> None:
        if not self.transport.connected or self.transport.disconnecting:
            return
        if isinstance(answer, Refusal):
            self.refuse(answer)
            return
        self._receive(answer)
        if self.refused:
            return
        self.paused = False
        if not self._waitingForTransport:
            self.transport.resumeProducing()
        self.dataReceived(b"")

    # Refusing

    def refuse_body(self, limit: int) -> None:
        """Refuse a body that is larger than `limit` bytes."""
        self.refuse(refusal(BODY_TOO_LARGE, BODY_TOO_LARGE.text.format(limit=limit)))

    def refuse(self, answer: Refusal) -> None:
        """Send a refusal, stop processing requests, and close."""
        if self.refused:
            return
        self._body_came()
        self.refused = self.paused = True
        self.setTimeout(None)
        headers = Headers()
        for name, value in answer.headers:
            headers.addRawHeader(name, value)
        headers.setRawHeaders("Date", [http_date()])
        headers.setRawHeaders("Content-Type", ["application/json"])
        headers.setRawHeaders("Content-Length", [str(len(answer.body))])
        headers.setRawHeaders("Connection", ["close"])
        status = HTTPStatus(answer.status)
        count_refused((getattr(self, "_command", None) or b"").decode("latin1"), status)
        self.writeHeaders(b"HTTP/1.1", b"%d" % status, status.phrase.encode(), headers)
        self.write(answer.body)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self.transport.loseWriteConnection()
        self._timer = self.callLater(LINGER_SECONDS, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if not self.refused:
            super().dataReceived(data)

    def allContentReceived(self) -> None:
        self._body_came()
        if not self.refused:
            super().allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(refusal(HEADERS_TOO_LARGE))

    def timeoutConnection(self) -> None:
        if self.requests:
            self.refuse(refusal(REQUEST_TIMEOUT))
        else:
            super().timeoutConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(refusal(BAD_REQUEST, "This is not a request in HTTP."))

    # The reader

    async def drained(self) -> None:
        """Wait until the peer has read what was written, or has disconnected."""
        await self._drained.wait()

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._drained.clear()
        self._watch()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.paused:  # the headers are still being checked
            self.transport.pauseProducing()
        self._let_go()

    def stopProducing(self) -> None:
        super().stopProducing()
        self._let_go()

    def loseConnection(self) -> None:
        """Close when everything is written. Cuts the connection if the reader stalls before."""
        super().loseConnection()
        self._let_go()
        self._watch()

    def connectionLost(self, reason: Failure) -> None:
        self._body_came()
        self._let_go()
        super().connectionLost(reason)

    def _let_go(self) -> None:
        self._drained.set()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _watch(self) -> None:
        if self._timer is None and self.transport.connected:
            self._timer = self.callLater(
                self.stall_seconds / LOOKS, self._look, self._backlog(), LOOKS - 1
            )

    def _look(self, before: int, looks: int) -> None:
        self._timer = None
        if not self.transport.connected:
            return
        backlog = self._backlog()
        looks = LOOKS if backlog < before else looks
        if looks:
            self._timer = self.callLater(self.stall_seconds / LOOKS, self._look, backlog, looks - 1)
        else:
            logger.info("Cut %s, which read nothing for %s s", self.getPeer(), self.stall_seconds)
            self.transport.abortConnection()

    def _backlog(self) -> int:
        """Bytes that the peer has not acknowledged, including the kernel's buffer.

        So a slow reader is not mistaken for a stalled one.
        """
        unsent = fcntl.ioctl(self.transport.fileno(), termios.TIOCOUTQ, bytes(4))
        ours: int = len(self.transport.dataBuffer) - self.transport.offset
        return ours + int.from_bytes(unsent, sys.byteorder)
