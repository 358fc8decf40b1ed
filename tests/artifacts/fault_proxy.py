"""A TCP proxy on loopback that stands before a real S3 server and breaks the next connections on demand."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

Fault = Callable[["FaultProxy", socket.socket], None]


class FaultProxy:
    """Forwards bytes unchanged, so that signatures stay valid, except on connections that are to fail."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()

    def fail_next(self, fault: Fault, times: int = 1) -> None:
        """Let the next connections fail. Present ones are closed, so that a new one is needed."""
        with self._lock:
            self._faults = [fault] * times
            for connection in list(self._open):
                _hang_up(connection)

    @property
    def pending(self) -> int:
        """Return how many faults have not been met."""
        return len(self._faults)

    def __enter__(self) -> FaultProxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        _hang_up(self._listener)
        self._listener.close()
        for connection in list(self._open):
            _hang_up(connection)
        for thread in list(self._threads):
            thread.join(10)

    def connect_upstream(self) -> socket.socket:
        upstream = socket.create_connection(self._upstream)
        self._open.add(upstream)
        return upstream

    def wait_closed(self) -> None:
        """Wait until the proxy ends."""
        self._closed.wait(60)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(client)
                fault = self._faults.pop(0) if self._faults else tunnel
            self._start(self._serve, fault, client)

    def _serve(self, fault: Fault, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            fault(self, client)
        self._open.discard(client)


def tunnel(proxy: FaultProxy, client: socket.socket) -> None:
    """Forward both ways."""
    _forward(proxy, client, lambda data: data)


def reset(proxy: FaultProxy, client: socket.socket) -> None:
    """Drop the connection when the request has begun."""
    client.recv(65536)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stall(proxy: FaultProxy, client: socket.socket) -> None:
    """Never answer."""
    proxy.wait_closed()


def answer(status: int, code: str) -> Fault:
    """Answer every request of the connection's first burst with an error of the S3 kind."""
    body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    head = (
        f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )

    def fault(proxy: FaultProxy, client: socket.socket) -> None:
        request = _read_request(client)
        client.sendall(head.encode() + (b"" if request.startswith(b"HEAD") else body))

    return fault


def lose_answer(proxy: FaultProxy, client: socket.socket) -> None:
    """Let the request through, but drop the connection instead of passing on the final answer."""

    def spoil(data: bytes) -> bytes | None:
        return data if data.startswith(b"HTTP/1.1 100") else None

    _forward(proxy, client, spoil)


def break_body(after: int) -> Fault:
    """Break the connection after so many bytes of the answer."""

    def fault(proxy: FaultProxy, client: socket.socket) -> None:
        left = after

        def spoil(data: bytes) -> bytes | None:
            nonlocal left
            if left <= 0:
                return None
            data, left = data[:left], left - len(data)
            return data

        _forward(proxy, client, spoil)

    return fault


def _forward(proxy: FaultProxy, client: socket.socket, back: Callable[[bytes], bytes | None]) -> None:
    with proxy.connect_upstream() as upstream:
        other = threading.Thread(target=_pump, args=(client, upstream), daemon=True)
        other.start()
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                passed = back(data)
                if passed is None:
                    break
                client.sendall(passed)
        _hang_up(client)
        _hang_up(upstream)
        other.join(10)
        proxy._open.discard(upstream)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _read_request(client: socket.socket) -> bytes:
    """Read a whole request: head and as many bytes of body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    if b"expect: 100-continue" in lines:
        return head  # the body comes only if we ask for it
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        more = client.recv(65536)
        if not more:
            break
        body += more
    return head


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
