"""How one server takes connections, and how long they may keep it waiting: API and pages alike."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import uvicorn

from mainstay.http.protocol import PredictProtocol, Standing


class Listening:
    """The connections of one server.

    Args:
        server: uvicorn's, not yet started.
        most: Connections that are possible; one more is told so.
    """

    def __init__(self, server: uvicorn.Server, most: int) -> None:
        self._server = server
        self.standing = Standing()
        self.standing.most = most
        server.server_state = self.standing

    async def listen(self, sockets: Sequence[socket.socket], within: float) -> None:
        """Accepts connections as uvicorn would, but waits only `within` seconds for a TLS handshake."""
        server = self._server
        config, loop = server.config, asyncio.get_running_loop()

        def connection() -> PredictProtocol:
            return PredictProtocol(
                config=config, server_state=self.standing, app_state=server.lifespan.state, _loop=loop
            )

        sealed = None if config.ssl is None else within
        server.servers = [
            await loop.create_server(
                connection, sock=one, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=sealed
            )
            for one in sockets
        ]
        server.started = True

    def look(self, within: float) -> int:
        """Once a second, on the event loop: closes connections that keep us waiting. Returns how many were told so.

        Args:
            within: Seconds in which a request's head, and then its body, have to arrive, and in which something of an
                answer has to be taken.
        """
        return self.standing.look(asyncio.get_running_loop().time(), within)
