"""What a diagnosis says, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from ...protocol import Curve, Dependence, Probe
from ...protocol.words import mark, tr

LITTLE = 0.05
"""A loss of IoU below this is called small: the sample itself is that uncertain."""
LEAST = 0.05
"""With a lower IoU on the unchanged sample, nothing can be lost."""
NAMES = {
    Dependence.RESOLUTION: mark("the resolution"),
    Dependence.BRIGHTNESS: mark("the brightness"),
    Dependence.CONTRAST: mark("the contrast"),
    Dependence.BLUR: mark("sharpness"),
    Dependence.BANDS: mark("single bands"),
    Dependence.ORDER: mark("the order of the bands"),
}
UNCHANGED = {
    Dependence.RESOLUTION: 1.0, Dependence.BRIGHTNESS: 0.0, Dependence.CONTRAST: 1.0, Dependence.BLUR: 0.0,
}  # fmt: skip
"""Values of an image as it is, where there is an order of values."""


def sentence(dependence: Dependence, probes: Sequence[Probe], iou: float, gsd_m: float) -> str:
    """What a curve says; empty where the model finds nothing in the unchanged sample.

    Args:
        iou: of the unchanged sample.
        gsd_m: the model's.
    """
    if iou < LEAST:
        return ""
    worst = min(probes, key=lambda probe: probe.iou)
    if dependence is Dependence.BANDS:
        return _of_bands(probes, worst, iou)
    if dependence is Dependence.ORDER:
        words = tr("Exchanging two bands costs at most {} IoU ({}).")
        return words.format(_lost(iou, worst), worst.label)
    low, high = _tolerated(dependence, probes, iou)
    if max(iou - probe.iou for probe in probes) < LITTLE:
        words = tr("It hardly depends on {}: at most {} IoU is lost from {} to {}.")
        return words.format(tr(NAMES[dependence]), _lost(iou, worst), probes[0].label, probes[-1].label)
    if dependence is Dependence.BLUR:
        words = tr("A blur of up to {} px costs less than {} IoU; one of {} costs {}.")
        return words.format(f"{high:g}", LITTLE, worst.label, _lost(iou, worst))
    if dependence is Dependence.RESOLUTION:
        words = tr("Pixels of {} to {} m cost less than {} IoU; of {} m, they cost {}.")
        sizes = (f"{value * gsd_m:.2g}" for value in (low, high))
        return words.format(*sizes, LITTLE, f"{worst.value * gsd_m:.2g}", _lost(iou, worst))
    shown = (f"{value:+.0%}" if dependence is Dependence.BRIGHTNESS else f"{value:g} ×" for value in (low, high))
    words = tr("Contrast from {} to {} costs less than {} IoU; {} costs {}.")
    if dependence is Dependence.BRIGHTNESS:
        words = tr("Brightness from {} to {} costs less than {} IoU; {} costs {}.")
    return words.format(*shown, LITTLE, worst.label, _lost(iou, worst))


def depends_most(curves: Sequence[Curve], iou: float) -> str:
    """Which change costs most; that nothing can be said where the model finds nothing."""
    if iou < LEAST:
        return tr("The model finds next to nothing in the sample, so there is nothing to lose: no diagnosis.")
    lowest = {curve.dependence: min(probe.iou for probe in curve.probes) for curve in curves}
    most = min(lowest, key=lambda dependence: lowest[dependence])
    lost = iou - lowest[most]
    if lost < LITTLE:
        return tr("Nothing that was tried costs the model more than {} IoU.").format(f"{max(lost, 0):.2f}")
    return tr("It depends most on {}: up to {} of its IoU of {} is lost.").format(
        tr(NAMES[most]), f"{lost:.2f}", f"{iou:.2f}"
    )


def _of_bands(probes: Sequence[Probe], worst: Probe, iou: float) -> str:
    if len(probes) == 1:
        return tr("Its only band replaced by its mean costs {} IoU.").format(_lost(iou, worst))
    best = max(probes, key=lambda probe: probe.iou)
    words = tr("Each band replaced by its mean: it loses most {} ({} IoU), least {} ({}).")
    return words.format(worst.label, _lost(iou, worst), best.label, _lost(iou, best))


def _lost(iou: float, probe: Probe) -> str:
    return f"{max(iou - probe.iou, 0):.2f}"


def _tolerated(dependence: Dependence, probes: Sequence[Probe], iou: float) -> tuple[float, float]:
    """The lowest and the highest value up to which less than `LITTLE` is lost, seen from the unchanged one."""
    low = high = UNCHANGED[dependence]
    for probe in (probe for probe in probes if probe.value > UNCHANGED[dependence]):
        if iou - probe.iou >= LITTLE:
            break
        high = probe.value
    for probe in (probe for probe in reversed(probes) if probe.value < UNCHANGED[dependence]):
        if iou - probe.iou >= LITTLE:
            break
        low = probe.value
    return low, high
