"""Puts TLS before plain HTTP servers of an address of this machine: tls_proxy.py ADDRESS SERVER.PEM PORT=TARGET….

Bytes pass as they are, so a server has to know by itself that it is called by https. Lines on standard input say what
is to go wrong, and each is confirmed by "done PORT METHOD":

- "lose PORT METHOD": requests of a method reach the server, and the connection is cut in place of the answer;
- "fail PORT METHOD": they do not reach it, and are answered 500;
- "pass PORT METHOD": as at first.

Ends with its standard input; says "ready" when it listens. Runs with Python alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import sys

_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def main(address: str, certificate: str, *pairs: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    connectors = {}
    for pair in pairs:
        port, _, target = pair.partition("=")
        connectors[port] = _Connector(address, int(target))
        await asyncio.start_server(connectors[port], address, int(port), ssl=context)
    print("ready", flush=True)
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        what, port, method = line.split()
        connectors[port].faults[method.encode() + b" "] = what
        print(f"done {port} {method}", flush=True)


class _Connector:
    def __init__(self, address: str, target: int) -> None:
        self._target = (address, target)
        self.faults: dict[bytes, str] = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection's bytes both ways until both sides have ended; a dead server ends it at once."""
        with contextlib.suppress(OSError):
            other_reader, other_writer = await asyncio.open_connection(*self._target)
            lost = asyncio.Event()
            await asyncio.gather(
                self._requests(reader, other_writer, writer, lost), _answers(other_reader, writer, lost)
            )
        writer.close()

    async def _requests(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        lost: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await source.read(65536):
                fault = next((what for method, what in self.faults.items() if data.startswith(method)), "pass")
                if fault == "fail":
                    await _read_whole(source, data)
                    back.write(_FAILED)
                    await back.drain()
                    break
                if fault == "lose":
                    lost.set()
                target.write(data)
                await target.drain()
        target.close()


async def _answers(source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            if lost.is_set():
                target.transport.abort()
                return
            target.write(data)
            await target.drain()
    target.close()


async def _read_whole(source: asyncio.StreamReader, data: bytes) -> None:
    """Read the rest of a request, so that its sender is there for the answer."""
    while b"\r\n\r\n" not in data:
        data += await source.readexactly(1)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    await source.readexactly(max(int(length[1]) - len(body), 0) if length else 0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
