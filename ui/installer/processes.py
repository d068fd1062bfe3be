"""Programs that can be stopped with all the programs that they have started."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Callable, Optional

from ...protocol import Cancelled
from ..client.environment import child_options

POLL_SECONDS = 0.05


def run(
    command: Sequence[str],
    variables: Mapping[str, str],
    say: Callable[[str], None],
    is_cancelled: Callable[[], bool],
    folder: Optional[Path] = None,
) -> int:
    """Run a program to its end, passing each line of output to `say`; returns its exit status.

    Args:
        variables: added to the clean environment.
        folder: its working folder.

    Raises:
        Cancelled: the program and all that it started were ended.
        OSError: it cannot be started.
    """
    options = _options(variables)
    pipe, together, nothing = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
    process = subprocess.Popen(list(command), stdin=nothing, stdout=pipe, stderr=together, cwd=folder, **options)
    lines: queue.Queue[Optional[str]] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        while True:
            if is_cancelled():
                raise Cancelled
            try:
                line = lines.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                return process.wait()
            say(line)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and all that it has started, and wait for its end."""
    if sys.platform == "win32":
        if process.poll() is None:
            command = [os.path.expandvars(r"%SystemRoot%\System32\taskkill.exe"), "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, check=False, capture_output=True, **child_options())
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # its process group has its PID, and may outlive it
        except (ProcessLookupError, PermissionError):
            pass
    process.kill()
    process.wait()


def _options(variables: Mapping[str, str]) -> dict[str, Any]:
    options = child_options()
    options["env"].update(variables)
    if sys.platform != "win32":
        options["start_new_session"] = True
    return options


def _read(stream: IO[bytes], lines: queue.Queue[Optional[str]]) -> None:
    """Queue the lines; None at the end."""
    for line in stream:
        lines.put(line.decode("utf-8", "replace").rstrip())
    lines.put(None)
