"""The local web page of `robustft review`: on this machine only, for who knows the token in its address."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files

from aiohttp import web

from robustft.errors import ConfigError
from robustft.review.desk import Desk

HOST = "127.0.0.1"
COOKIE = "robustft_review"
ASSETS = {"/page.js": ("page.js", "text/javascript"), "/page.css": ("page.css", "text/css")}
"""All files that are served, by their address: no other name reaches the disk."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(desk: Desk, token: str, port: int) -> web.Application:
    """Return the page's server for one desk."""
    hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        # another site's name for this address (DNS rebinding) is refused, and so is who doesn't know the token
        if request.host not in hosts:
            return web.Response(status=421, text="this is not the address of this page\n")
        if not _knows(request, token):
            return web.Response(status=403, text="open the address that `robustft review` printed\n")
        return await handler(request)

    async def protect(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    app = web.Application(middlewares=[guard], client_max_size=64 * 1024)
    app.on_response_prepare.append(protect)
    app.router.add_get("/", partial(_page, token=token))
    for address, (name, kind) in ASSETS.items():
        app.router.add_get(address, partial(_asset, name=name, kind=kind))
    app.router.add_get("/state", partial(_state, desk=desk))
    app.router.add_get("/row/{position:\\d{1,9}}", partial(_of_row, desk=desk, what=desk.row))
    app.router.add_get("/neighbours/{position:\\d{1,9}}", partial(_of_row, desk=desk, what=desk.neighbours))
    app.router.add_post("/verdict", partial(_verdict, desk=desk))
    app.router.add_post("/undo", partial(_undo, desk=desk))
    return app


async def serve(desk: Desk, token: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until it is cancelled; `say` is told the address. Raises ConfigError where the port is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror}; leave it out for a free one") from None
        port = listener.getsockname()[1]
        runner = web.AppRunner(application(desk, token, port), access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            say(f"http://{HOST}:{port}/?token={token}")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _knows(request: web.Request, token: str) -> bool:
    said = request.query.get("token") if request.path == "/" else None
    return hmac.compare_digest((said or request.cookies.get(COOKIE, "")).encode(), token.encode())


async def _page(request: web.Request, token: str) -> web.Response:
    """Return the page; the token moves from the address, which may be seen, into a cookie."""
    if "token" in request.query:
        moved = web.Response(status=303, headers={"Location": "/"})
        moved.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
        return moved
    return web.Response(text=_file("page.html"), content_type="text/html")


async def _asset(request: web.Request, name: str, kind: str) -> web.Response:
    return web.Response(text=_file(name), content_type=kind)


def _file(name: str) -> str:
    return files("robustft.review").joinpath(name).read_text("utf-8")


async def _state(request: web.Request, desk: Desk) -> web.Response:
    return web.json_response(desk.state())


async def _of_row(request: web.Request, desk: Desk, what: Callable[[int], object]) -> web.Response:
    position = int(request.match_info["position"])
    if position >= len(desk.places):
        return web.json_response({"error": f"there are {len(desk.places)} rows"}, status=404)
    return web.json_response(await asyncio.to_thread(what, position))


async def _verdict(request: web.Request, desk: Desk) -> web.Response:
    told = await _told(request)
    position = told.get("position")
    if not isinstance(position, int) or not 0 <= position < len(desk.places):
        return web.json_response({"error": "position: no such row"}, status=400)
    value = told.get("value")
    try:
        desk.say(position, str(told.get("what")), value if isinstance(value, str) else None)
    except ConfigError as error:
        return web.json_response({"error": str(error)}, status=400)
    return web.json_response(desk.state())


async def _undo(request: web.Request, desk: Desk) -> web.Response:
    await _told(request)
    position = desk.undo()
    return web.json_response(desk.state() | {"position": position})


async def _told(request: web.Request) -> dict[str, object]:
    """Return the JSON that was sent; what another site's form could send isn't read."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        told = await request.json()
    except ValueError:
        raise web.HTTPBadRequest from None
    if not isinstance(told, dict):
        raise web.HTTPBadRequest
    return told
