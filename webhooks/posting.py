"""Sends one POST request to a checked address, in limited time, without following redirects."""

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from time import monotonic

from webhooks.addresses import BadUrl, Target, open_addresses

SECONDS = 10.0
"""For the whole request, after the name is resolved."""
ANSWER_BYTES = 64 * 1024
"""Most of the answer's body that is read. Its content is ignored."""
REDIRECTS = range(300, 400)


class SendFailed(Exception):
    """Nothing was delivered. The text is for the webhook's owner."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


def post(target: Target, body: bytes, headers: Mapping[str, str], seconds: float = SECONDS) -> int:
    """The status of the answer, which is 2xx. Raises SendFailed."""
    try:
        addresses = open_addresses(target)
    except BadUrl as problem:
        raise SendFailed(str(problem)) from problem
    until = monotonic() + seconds
    try:
        with _connected(target, addresses, until) as sock, _cut(sock, until):
            status = _exchange(sock, target, body, headers)
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as problem:
        if monotonic() >= until:
            raise SendFailed(f"took longer than {seconds:g} s") from problem
        raise SendFailed(_worded(problem)) from problem
    if status in REDIRECTS:
        raise SendFailed(f"answered {status}, and redirects are not followed", status)
    if not 200 <= status < 300:  # noqa: PLR2004
        raise SendFailed(f"answered {status}", status)
    return status


@contextmanager
def _connected(target: Target, addresses: list[str], until: float) -> Iterator[socket.socket]:
    """A connection to the first address that accepts one. The name is not resolved again."""
    problem: OSError | None = None
    for address in addresses:
        left = until - monotonic()
        if left <= 0:
            break
        try:
            sock = socket.create_connection((address, target.port), timeout=left)
        except OSError as error:
            problem = error
            continue
        with sock:
            yield sock
        return
    raise problem or TimeoutError


@contextmanager
def _cut(sock: socket.socket, until: float) -> Iterator[None]:
    """Closes the connection when the time is over, also if the peer sends byte by byte.

    Then raises TimeoutError, because a shortened answer may look complete.
    """
    over = threading.Event()
    with socket.socket(fileno=os.dup(sock.fileno())) as guard:

        def end() -> None:
            over.set()
            with suppress(OSError):
                guard.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, until - monotonic()), end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
    if over.is_set():
        raise TimeoutError


def _exchange(sock: socket.socket, target: Target, body: bytes, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.auto_open = 0
    if target.scheme == "https":
        connection.sock = tls().wrap_socket(sock, server_hostname=target.host)
    else:
        connection.sock = sock
    try:
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", target.host_header)
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Connection", "close")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read(ANSWER_BYTES)
        return answer.status
    finally:
        connection.close()


@cache
def tls() -> ssl.SSLContext:
    """Uses the certificates that this machine trusts."""
    return ssl.create_default_context()


def _worded(problem: Exception) -> str:
    match problem:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {problem.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {problem.reason or 'no reason was given'}"
        case ConnectionRefusedError():
            return "refused the connection"
        case OSError() if problem.strerror:
            return f"cannot be reached: {problem.strerror}"
        case _:
            return f"did not answer in HTTP ({type(problem).__name__})"
