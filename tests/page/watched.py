"""The command `orthomask`, which says on stderr whenever it turns to another computer."""

import os
import sys
from typing import Any

HERE = ("127.0.0.1", "::1", "localhost")


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in HERE:
        os.write(2, f"LEFT {arguments[1]}\n".encode())
    if event == "socket.getaddrinfo" and arguments[0] not in (None, *HERE):
        os.write(2, f"LEFT {arguments[0]}\n".encode())


sys.addaudithook(watch)

from orthomask.cli import main  # noqa: E402

main()
