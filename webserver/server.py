"""The web server: daphne with spooled bodies, stall limits for readers, and a graceful shutdown."""
# ruff: noqa: N802 - the names are twisted's

import asyncio
import gc
import io
import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any

import daphne.server  # before twisted's reactor: it installs the asyncio one
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.logger import STDLibLogObserver, globalLogBeginner
from twisted.python.failure import Failure

from common.error_codes import NO_DISK, error_body, generic_code
from webserver.body_spool import KEY, BodyTooLarge, Spool
from webserver.connection import Check, CheckAtOnce, Connection, refusal
from webserver.transport import BACKLOG, Listener, Socket
from webserver.upload_budget import NoRoom, Uploads

logger = logging.getLogger(__name__)

LAST_SECONDS = 2  # for applications whose client has disconnected
GOING_AWAY = 1001
CLOSE = (b"connection", b"close")
LOOK_SECONDS = 0.1
SETTLE_SECONDS = 1.0
PHRASES = {each.value: each.phrase.encode() for each in HTTPStatus}


class Request(WebRequest):
    """A request whose body is spooled. Daphne sees an empty body: it would queue all of it."""

    def __init__(self, channel: Connection, queued: object) -> None:
        self.spool: Spool | None = None
        self.came_in_time = False
        """Whether its headers arrived before the server closed. If so, it is answered."""
        super().__init__(channel, queued, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        self.came_in_time = not self.server.closing
        if length == 0:
            return
        self.server.receiving.add(self)
        try:
            self.spool = Spool(self.server.uploads, self.channel.allowed, length)
        except NoRoom as problem:
            self._refuse(problem)
        except OSError:
            self._no_disk()

    def handleContentChunk(self, data: bytes) -> None:
        if self.spool is None or self.channel.refused:
            return
        try:
            self.spool.write(data)
        except BodyTooLarge:
            self.channel.refuse_body(self.channel.allowed.limit)
        except NoRoom as problem:
            self._refuse(problem)
        except OSError:
            self._no_disk()

    def _refuse(self, problem: NoRoom) -> None:
        self.channel.refuse(refusal(problem.error_code, headers=[("Retry-After", "10")]))

    def _no_disk(self) -> None:
        logger.error("A body could not be spooled", exc_info=True)  # noqa: LOG014
        self.channel.refuse(refusal(NO_DISK))

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Set the reason phrase of any registered status; twisted knows only some."""
        super().setResponseCode(code, message or PHRASES.get(code))

    def process(self) -> None:
        self.server.receiving.discard(self)
        super().process()

    def connectionLost(self, reason: Failure) -> None:
        self.server.receiving.discard(self)
        super().connectionLost(reason)

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message.get("type") == "http.response.start" and self.server.leaving and self.channel:
            # A client that keeps connections open must connect to another server next.
            self.channel.persistent = False
            message = {**message, "headers": [*message.get("headers", []), CLOSE]}
        super().handle_reply(message)

    @property
    def endless(self) -> bool:
        """Whether a response of unknown length is being sent."""
        return bool(self.startedWriting and self.chunked and not self.finished)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        if self._response_started:  # abort, so that the client notices the truncated response
            self.transport.abortConnection()
            return
        text = json.dumps(error_body(generic_code(status), status_text.decode())).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
        self.handle_reply(
            {"type": "http.response.start", "status": status, "headers": headers},
        )
        self.handle_reply({"type": "http.response.body", "body": text})


class Factory(HTTPFactory):
    protocol = Connection

    def log(self, request: Request) -> None:
        """Log nothing: webserver.middleware counts requests instead of one line for each."""

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        connection: Connection = super().buildProtocol(addr)
        connection.requestFactory = Request
        connection.ask = self.server.check
        connection.ask_at_once = self.server.check_at_once
        connection.unknown_seconds = self.server.unknown_seconds
        connection.max_body = self.server.max_body
        connection.stall_seconds = self.server.stall_seconds
        return connection


class Server(daphne.server.Server):
    """Daphne with our connections, budgets and shutdown. `serve` describes the arguments."""

    def __init__(
        self,
        application: Any,
        *,
        uploads: Uploads,
        max_body: int,
        check: Check | None,
        check_at_once: CheckAtOnce | None,
        idle_seconds: float,
        unknown_seconds: float,
        stall_seconds: float,
        grace_seconds: float,
        leave_seconds: float,
        on_leave: Callable[[], object] | None,
    ) -> None:
        super().__init__(application, endpoints=["run() listens"], server_name="")
        self.uploads = uploads
        self.max_body = max_body
        self.check = check
        self.check_at_once = check_at_once
        self.unknown_seconds = unknown_seconds
        self.stall_seconds = stall_seconds
        self.grace_seconds = grace_seconds
        self.leave_seconds = leave_seconds
        self.on_leave = on_leave
        self.receiving: set[Request] = set()
        """Requests whose bodies are being received."""
        self.leaving = False
        """The server will stop soon, but still accepts requests."""
        self.closing = False
        """The server accepts no more requests."""
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = Factory(self)
        self.http_factory.timeOut = idle_seconds
        self.ws_factory = WebSocketFactory(self, server="")
        self.ws_factory.protocol = Socket
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        self._stopping: asyncio.Task[None] | None = None

    def run_on(self, host: str, port: int, ready: Callable[[int], None] | None) -> None:
        """Serve until SIGINT or SIGTERM. Raises OSError if the address cannot be used."""
        loop = daphne.server.twisted_loop
        asyncio.set_event_loop(loop)
        try:
            self.port = Listener(port, self.http_factory, BACKLOG, host, reactor)
            self.port.startListening()
        except CannotListenError as problem:
            raise OSError(f"Cannot listen on {host}:{port}: {problem.socketError}") from None
        with interrupted(lambda: loop.call_soon_threadsafe(self.stop)):
            reactor.callLater(1, self.application_checker)
            reactor.callLater(2, self.timeout_checker)
            # Objects that exist now live forever: exclude them from full collections, which pause
            # the process.
            gc.collect()
            gc.freeze()
            if ready is not None:
                ready(self.port.getHost().port)
            reactor.run(installSignalHandlers=False)

    # Requests

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if self.closing and not getattr(protocol, "came_in_time", False):
            # Nothing would wait for its end, and its thread would delay the process's exit.
            protocol.transport.abortConnection()
            return asyncio.Queue()
        spool: Spool | None = getattr(protocol, "spool", None)
        if spool is not None:
            scope[KEY] = spool
        queue = super().create_application(protocol, scope)
        if spool is not None and queue is not None:
            running = self.connections[protocol]["application_instance"]
            running.add_done_callback(lambda _: spool.close())
        return queue

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        spool: Spool | None = getattr(protocol, "spool", None)
        if spool is not None and "application_instance" not in self.connections[protocol]:
            spool.close()

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        if message.get("more_body") or message["type"] == "websocket.send":
            connection = getattr(protocol.transport, "producer", None)
            if isinstance(connection, Connection):
                await connection.drained()
            else:  # the client is gone: let the application receive the disconnect first
                await asyncio.sleep(0)

    # The end

    def stop(self) -> None:
        """Shut down gracefully. Called again, stop at once.

        Accept requests for `leave_seconds`, then end streams and wait for running requests.
        """
        if self._stopping is None:
            self._stopping = daphne.server.twisted_loop.create_task(self._stop())
        elif reactor.running:
            reactor.stop()

    async def _stop(self) -> None:
        try:
            self.leaving = True
            if self.on_leave is not None:
                self.on_leave()
            if self.leave_seconds:
                await asyncio.sleep(self.leave_seconds)
                self._stop_listening()
                # Connections that were accepted until now may still send their first request.
                await asyncio.sleep(SETTLE_SECONDS)
            else:
                self._stop_listening()
            self.closing = True
            await self._end_requests()
        finally:
            if reactor.running:
                reactor.stop()

    def _stop_listening(self) -> None:
        self.port.socket.listen(0)  # stop the backlog from growing while it is emptied
        self.port.doRead()
        self.port.stopListening()

    async def _end_requests(self) -> None:
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketProtocol):
                if protocol.state == protocol.STATE_OPEN:
                    protocol.sendCloseFrame(code=GOING_AWAY)
            elif protocol.endless:
                protocol.loseConnection()
        if await self._unfinished(self.grace_seconds):
            for protocol in list(self.connections):
                if protocol.transport is not None:
                    protocol.transport.abortConnection()
            for task in await self._unfinished(LAST_SECONDS):
                task.cancel()
            await self._unfinished(LAST_SECONDS)

    async def _unfinished(self, seconds: float) -> set[asyncio.Task[None]]:
        until = monotonic() + seconds
        while True:
            tasks = [each.get("application_instance") for each in self.connections.values()]
            running = {task for task in tasks if task is not None and not task.done()}
            left = until - monotonic()
            if left <= 0 or not (running or self.receiving):
                return running
            await asyncio.wait(
                running or {asyncio.ensure_future(asyncio.sleep(LOOK_SECONDS))},
                timeout=min(left, LOOK_SECONDS) if self.receiving else left,
            )


@contextmanager
def interrupted(call: Callable[[], object]) -> Iterator[None]:
    """Call a function at SIGINT and SIGTERM within the block.

    The event loop's own handlers lose a signal while hundreds of wake-ups from threads are pending:
    both use the same pipe, which is then full.
    """
    before = {
        each: signal.signal(each, lambda *_: call()) for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def serve(
    application: Any,
    *,
    host: str,
    port: int,
    uploads: Uploads,
    max_body: int,
    check: Check | None = None,
    check_at_once: CheckAtOnce | None = None,
    ready: Callable[[int], None] | None = None,
    on_stop: Callable[[], None] | None = None,
    idle_seconds: float = 60,
    unknown_seconds: float = 60,
    stall_seconds: float = 60,
    grace_seconds: float = 3,
    leave_seconds: float = 0,
    on_leave: Callable[[], object] | None = None,
) -> None:
    """Serve an ASGI application in the main thread until SIGINT or SIGTERM.

    * `port`: 0 selects a free one. `ready` is called with the port once connections are accepted.
    * `uploads`: the budget of all bodies together. `max_body`: the largest body in bytes.
    * `check`: called in a thread with a request's headers. It returns the allowed size of the body,
      or a refusal. `check_at_once` is called before it, in the event loop, and may return None.
    * `idle_seconds`: how long a client may send nothing between or within requests.
    * `unknown_seconds`: how long the body of a client that is not known may take.
    * `stall_seconds`: how long a client may read nothing of a response before it is cut.
    * `on_stop`: called when the last request has ended, or when the start failed.

    At shutdown the server calls `on_leave` and accepts requests for `leave_seconds`, but closes
    each connection after its response. Then it accepts no more, and running requests have
    `grace_seconds` to end.

    Raises OSError if the address cannot be used. Works once per process, like twisted's reactor.
    """
    observer = STDLibLogObserver("twisted")
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    uploads.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = Server(
        application,
        uploads=uploads,
        max_body=max_body,
        check=check,
        check_at_once=check_at_once,
        idle_seconds=idle_seconds,
        unknown_seconds=unknown_seconds,
        stall_seconds=stall_seconds,
        grace_seconds=grace_seconds,
        leave_seconds=leave_seconds,
        on_leave=on_leave,
    )
    try:
        server.run_on(host, port, ready)
    finally:
        if on_stop is not None:
            on_stop()
