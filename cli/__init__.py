"""The command line: the same requests as in QGIS, from a terminal."""

from __future__ import annotations

import click

from ..engine.compute import devices
from . import (
    changes,
    chips,
    collect,
    compare,
    evaluate,
    explain,
    grow,
    learn,
    models,
    prediction,
    publishing,
    quality,
    review,
    train,
    truth,
    uncertainty,
    wheelhouse,
)


@click.group()
@click.version_option(devices.version(), prog_name="orthomask")
def commands() -> None:
    """Buildings and farmland from orthophotos: label, train, predict, measure."""


for command in (
    prediction.predict,
    prediction.polygonize,
    prediction.check,
    prediction.info,
    grow.grow,
    explain.explain,
    truth.project,
    truth.areas,
    truth.mask,
    chips.chips,
    collect.collect,
    train.train,
    train.search,
    evaluate.evaluate,
    review.suggest,
    uncertainty.uncertainty,
    quality.inspect,
    learn.learn,
    compare.compare,
    changes.changes,
    publishing.page,
    publishing.export,
    models.models,
    wheelhouse.wheelhouse,
):
    commands.add_command(command)


def main() -> None:
    """Entry point of the command `orthomask`."""
    devices.keep_pages()
    commands(prog_name="orthomask")
