"""As much of a client of HTTP as the load generator needs: it shares a core with what it measures, and the standard
library's takes twice as long for a request.
"""

import socket
from collections.abc import Mapping
from types import TracebackType
from typing import BinaryIO

WITHOUT_BODY = (204, 304)


class BadAnswer(Exception):
    """What came is no whole answer with its length."""


class Connection:
    """One that stays open from a request to the next. It is made when it is first needed, and anew after an error."""

    def __init__(self, host: str, port: int, timeout_s: float):
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._socket: socket.socket | None = None
        self._comes: BinaryIO | None = None

    def get(self, request: bytes) -> tuple[int, int]:
        """Send what `get_request` made; status of the answer, and the bytes of its body. OSError or BadAnswer."""
        try:
            if self._socket is None or self._comes is None:
                self._socket = socket.create_connection((self._host, self._port), self._timeout_s)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._comes = self._socket.makefile("rb")
            self._socket.sendall(request)
            return _read_answer(self._comes)
        except (OSError, BadAnswer):
            self.close()
            raise

    def close(self) -> None:
        if self._comes is not None:
            self._comes.close()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._comes = None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def get_request(host: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _read_answer(comes: BinaryIO) -> tuple[int, int]:
    first = comes.readline().split(None, 2)
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.1") or not first[1].isdigit():
        raise BadAnswer("It does not begin as an answer does.")
    status, length = int(first[1]), None
    while (line := comes.readline()) not in (b"\r\n", b""):
        if line[:15].lower() == b"content-length:":
            length = int(line[15:])
    if status in WITHOUT_BODY:
        return status, 0
    if length is None or len(comes.read(length)) != length:
        raise BadAnswer("It does not say how long it is, or is shorter than it says.")
    return status, length
