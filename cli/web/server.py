"""Serves the page to this computer alone, until Ctrl+C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import warnings
import webbrowser
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rasterio.errors import NotGeoreferencedWarning

from ... import worker
from ...engine.optional import package
from ...engine.progress import Progress
from ...protocol import ErrorCode, ModelsRequest, ModelSummary, OrthomaskError
from ...protocol.words import tr

if TYPE_CHECKING:
    from .site import Site

HOST = "127.0.0.1"
PORT, TRIED = 7890, 20
"""The port if none is asked for, or the first free one of those after it."""
LARGEST = "500mb"
"""A dropped file."""
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; frame-ancestors 'none'"
"""The browser asks nobody but this server, whatever Gradio would like to."""
GRACE_S = 1
"""How long open connections may keep the server from ending."""
GRADIO = "gradio>=6.31,<7"
SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]


def serve(models: Sequence[str], port: int | None, open_browser: bool) -> None:
    """Serve the page with these bundles and the embedded models.

    Raises:
        OrthomaskError: Gradio is missing, a bundle cannot be read, or the port is in use.
    """
    summaries = [summary for name in (*models, "") for summary in _models(name)]
    with (
        _bound(port) as listening,
        tempfile.TemporaryDirectory(prefix="orthomask-", ignore_cleanup_errors=True) as folder,
    ):
        site = _site(summaries, Path(folder))
        listening.listen()
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        click.echo(tr("The page is at {} until you press Ctrl+C.").format(address))
        if open_browser:
            webbrowser.open(address)
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the page asks about such pictures itself
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                _answer(site, listening)
        finally:
            site.close()


def _models(name: str) -> tuple[ModelSummary, ...]:
    """The bundle of this path, or the embedded models."""
    found: tuple[ModelSummary, ...] = worker.answer("models", ModelsRequest(name), Progress()).models
    return found


def _bound(port: int | None) -> socket.socket:
    """A socket on this computer alone."""
    listening = socket.socket()
    if os.name == "posix":  # elsewhere, this would share a port with another program
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for number in range(PORT, PORT + TRIED) if port is None else (port,):
        with suppress(OSError):
            listening.bind((HOST, number))
            return listening
    listening.close()
    raise OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("Port {} is in use, or not allowed.").format(PORT if port is None else port),
        tr("Choose another one with --port."),
    )


def _site(models: Sequence[ModelSummary], folder: Path) -> Site:
    """The page in Gradio, which reads its settings from the environment: none of them may open it to others."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ.update({**SETTINGS, "GRADIO_TEMP_DIR": str(folder / "files")})
    package(
        "gradio",
        tr("The page needs Gradio, which is not installed."),
        tr("Install it: {}").format(f'"{sys.executable}" -m pip install "{GRADIO}"'),
    )
    from .site import Site

    return Site(models, folder)


def _answer(site: Site, listening: socket.socket) -> None:
    """Answer the browser until the process is interrupted."""
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = TrustedHostMiddleware(_guarded(site.app(LARGEST)), [HOST, "localhost"])  # else names of others can lead here
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=GRACE_S)
    uvicorn.Server(config).run(sockets=[listening])


def _guarded(app: Any) -> Any:
    """An ASGI application whose answers all carry the policy."""

    async def guarded(scope: Message, receive: Any, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await app(scope, receive, sent)

    return guarded
