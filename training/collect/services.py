"""What goes wrong when GDAL reads from a server, in words, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from . import privacy
from .web import busy, host_of, refused, unreachable

SERVICE = re.compile(r"^(WFS|OAPIF|WMS|WMTS|WCS|OGCAPI):|://|^/vsi(curl|s3|gs|az)", re.IGNORECASE)
"""What a name begins with or holds that GDAL reads over the network."""
ADDRESS = re.compile(r"https?://[^\s,|]+")
LOST = re.compile(r"connect|resolve|timed? ?out|CURL error|SSL", re.IGNORECASE)
REFUSED = re.compile(r"\b(401|403|407)\b")
BUSY = re.compile(r"\b(429|502|503|504)\b")
UNREADABLE = {ErrorCode.LABELS_UNREADABLE, ErrorCode.IMAGE_UNREADABLE}


@contextmanager
def explained(name: str, access: Mapping[str, str]) -> Iterator[None]:
    """Say what is wrong with a server where a layer or image of this name cannot be read; hide secrets in errors."""
    try:
        with privacy.hidden(access):
            yield
    except OrthomaskError as error:
        if error.code in UNREADABLE and error.details and SERVICE.search(name):
            raise _of_server(name, error) from None
        raise


def _of_server(name: str, error: OrthomaskError) -> OrthomaskError:
    address = ADDRESS.search(name)
    host, details = address[0] if address else name, error.details
    if REFUSED.search(details):
        return refused(host, details)
    if BUSY.search(details):
        return busy(host, details)
    if LOST.search(details):
        return unreachable(host, details)
    return OrthomaskError(
        ErrorCode.SERVER,
        tr("{} does not send what was asked for.").format(host_of(host)),
        tr("Check the address, and log in to your network in a browser."),
        details,
    )
