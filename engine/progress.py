"""How a capability reports its progress, and learns that it has been cancelled."""

from __future__ import annotations


class Progress:
    """Receives a capability's progress. Reporting is also where cancelling happens."""

    def report(self, fraction: float, message: str = "") -> None:
        """Show that `fraction` (0 to 1) is done. Raises `Cancelled` if the user has cancelled."""
        self.check_cancelled()
        self.show(fraction, message)

    def show(self, fraction: float, message: str) -> None:
        """Display the progress; the base class is silent."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the user has cancelled; the base class never does."""

    def part(self, start: float, stop: float) -> Progress:
        """A progress whose 0 to 1 is `start` to `stop` of this one."""
        return _Part(self, start, stop)

    def quiet(self) -> Progress:
        """The same without a display: for a thread that runs while another shows its own."""
        return _Quiet(self)


class _Part(Progress):
    def __init__(self, whole: Progress, start: float, stop: float) -> None:
        self._whole, self._start, self._stop = whole, start, stop

    def show(self, fraction: float, message: str) -> None:
        self._whole.show(self._start + fraction * (self._stop - self._start), message)

    def check_cancelled(self) -> None:
        self._whole.check_cancelled()


class _Quiet(Progress):
    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def check_cancelled(self) -> None:
        self._whole.check_cancelled()
