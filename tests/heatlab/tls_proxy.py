"""Puts TLS before plain HTTP servers of 127.0.0.1: tls_proxy.py SERVER.PEM PORT=TARGET….

Bytes pass as they are, so a server has to know by itself that it is called by https. Ends with its standard input;
says "ready" when it listens. Runs with Python alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


async def main(certificate: str, *pairs: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    for pair in pairs:
        port, _, target = pair.partition("=")
        await asyncio.start_server(_Connector(int(target)), "127.0.0.1", int(port), ssl=context)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class _Connector:
    def __init__(self, target: int) -> None:
        self._target = target

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection's bytes both ways until both sides have ended; a dead server ends it at once."""
        with contextlib.suppress(OSError):
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(_carry(reader, other_writer), _carry(other_reader, writer))
        writer.close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
