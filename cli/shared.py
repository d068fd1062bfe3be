"""What the commands share: how a request is run, shown and cancelled, and how errors end a command."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from .. import worker
from ..engine.progress import Progress
from ..protocol import Cancelled, ErrorCode, Image, OrthomaskError, to_json

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; no progress bar.")
nodata_option = click.option(
    "--nodata", type=float, help="Value to treat as no data, such as 0; used only if the image has no no data value."
)
stretch_option = click.option(
    "--stretch", default="", metavar="LOW,HIGH,…",
    help="Values that become 0 and 255 of 8-bit pixels, for all bands or for each.",
)  # fmt: skip
second_option = click.option(
    "--second", default="", metavar="IMAGE",
    help="Second image, of the same ground, of a model that reads two; --bands call its bands second:NAME.",
)  # fmt: skip
existing_options = [
    click.option("--overwrite", "existing", flag_value="overwrite", help="Overwrite existing results."),
    click.option("--resume", "existing", flag_value="resume", help="Resume a cancelled run; keep a finished one."),
]


def options(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """A decorator that adds a list of options to a command, in their order."""

    def apply(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


def exit_status(code: ErrorCode) -> int:
    """130 cancelled, 3 output cannot be written, 4 engine trouble, 1 a bug of ours, 2 anything else: bad input."""
    if code is ErrorCode.CANCELLED:
        return 130
    if code.name.startswith(("OUTPUT", "DISK")):
        return 3
    if code.name.startswith(("ENGINE", "OUT_OF")):
        return 4
    return 1 if code is ErrorCode.INTERNAL else 2


class _Bar(Progress):
    """A progress bar on stderr, cancelled by Ctrl-C; a second Ctrl-C ends the program at once."""

    def __init__(self, visible: bool) -> None:
        self._cancelled = False
        hidden = not visible or not sys.stderr.isatty()
        self._bar: Any = click.progressbar(
            length=1000, file=sys.stderr, hidden=hidden, item_show_func=lambda item: str(item or "")
        )
        signal.signal(signal.SIGINT, self._cancel)

    def _cancel(self, _number: int, _frame: FrameType | None) -> None:
        self._cancelled = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def show(self, fraction: float, message: str) -> None:
        self._bar.update(int(fraction * 1000) - self._bar.pos, message)

    def check_cancelled(self) -> None:
        if self._cancelled:
            raise Cancelled

    def close(self) -> None:
        """End the bar's line."""
        self._bar.render_finish()


def run(
    method: str, request: Callable[[], Any], as_json: bool, say: Callable[[Any], None],
    plain: Callable[[Any], dict[str, Any]] = to_json,
) -> Any:  # fmt: skip
    """Answer a request, print the result; on an error of ours, print it and exit with its status.

    Args:
        plain: what is printed as JSON.
    """
    bar = _Bar(visible=not as_json)
    try:
        result = worker.answer(method, request(), bar)
    except OrthomaskError as error:
        _end(bar, error, as_json)
    bar.close()
    if as_json:
        click.echo(json.dumps(plain(result), ensure_ascii=False, indent=1))
    else:
        say(result)
    return result


def told(work: Callable[[], None]) -> None:
    """Do something; on an error of ours, print it and exit with its status."""
    try:
        work()
    except OrthomaskError as error:
        _exit(error)


def _end(bar: _Bar, error: OrthomaskError, as_json: bool) -> NoReturn:
    bar.close()
    if as_json:
        click.echo(json.dumps({"error": error.to_json()}))
    _exit(error)


def _exit(error: OrthomaskError) -> NoReturn:
    click.echo(f"{error.sentence}\n{error.remedy}", err=True)
    if error.code is ErrorCode.INTERNAL:
        click.echo(error.details, err=True)
    sys.exit(exit_status(error.code))


def numbers(text: str, option: str) -> tuple[float, ...]:
    """The comma-separated numbers of an option."""
    try:
        return tuple(map(float, listed(text)))
    except ValueError as error:
        raise click.UsageError(f"“{text}” in {option} is not a list of numbers; separate numbers by commas.") from error


def raster_of(path: str, crs: str, second: str, bands: str, stretch: str, nodata: float | None) -> Image:
    """An image by the options that say how it is read. The path of a second one becomes absolute, for records."""
    other = Image(str(Path(second).absolute()) if Path(second).exists() else second) if second else None
    return Image(path, crs, listed(bands), nodata=nodata, stretch=numbers(stretch, "--stretch"), second=other)


def listed(text: str) -> tuple[str, ...]:
    """The comma-separated parts of a text."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
