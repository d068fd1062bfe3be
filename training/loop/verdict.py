"""The outcome of a learning in words."""

from __future__ import annotations

from ...protocol import Gain
from ...protocol.words import tr

LEARNT, KNOWN = 0.02, 0.7
"""A tuned model that gains less IoU than the first on what it learnt from has learnt nothing; there was much to learn
where the base has less than the second."""
GAINED = 0.01
"""IoU; less is no gain."""
FEW = 8
"""With fewer areas to compare on than this, chance decides much."""


def of(here: Gain, home: Gain | None, share: float, learnt: Gain) -> tuple[bool, str]:
    """Whether the candidate is better, and the comparison in words.

    Args:
        share: of the tuned weights in the candidate.
        learnt: the tuned model on what it learnt from.
    """
    gained = here.after.iou - here.before.iou
    if share == 0 or gained < GAINED:
        return False, " ".join([tr("No better than the model it started from."), _why(here, learnt)])
    words = tr("Better here: IoU {:.2f} instead of {:.2f}, objects F1 {:.2f} instead of {:.2f}.").format(
        here.after.iou, here.before.iou, here.after.object_f1, here.before.object_f1
    )
    if here.low <= 0:
        words += " " + tr("With {} squares to compare on that may be chance: check more.").format(here.areas)
    if home:
        lost = home.before.iou - home.after.iou
        words += " " + (
            tr("At home it lost {:.2f}: IoU {:.2f} instead of {:.2f}.").format(lost, home.after.iou, home.before.iou)
            if lost >= 0.005
            else tr("At home it is as good as before.")
        )
    return True, words


def _why(here: Gain, learnt: Gain) -> str:
    if learnt.after.iou - learnt.before.iou < LEARNT and learnt.before.iou < KNOWN:
        return tr(
            "It hardly learnt the squares themselves: labels may contradict each other or be shifted. "
            "Look at “Label quality”."
        )
    if here.areas < FEW:
        return tr("{} squares to compare on are few: check more, also random ones.").format(here.areas)
    return tr("The squares show little that it did not know: check others, where it is wrong.")
