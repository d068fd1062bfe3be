"""The help next to an algorithm's parameters: what it does, its inputs and outputs, an example."""

from __future__ import annotations

from collections.abc import Iterable

from qgis.core import QgsApplication, QgsProcessingAlgorithm

from ..toolkit.words import tr


def help_page(algorithm: QgsProcessingAlgorithm, text: str, example: str) -> str:
    """One paragraph per line, as QGIS expects. `qgis_process` lists inputs and outputs itself, and shows no markup."""
    lines = [line for line in text.splitlines() if line]
    if QgsApplication.platform() == "qgis_process":
        return "\n".join([*lines, "", tr("Example"), example])
    inputs = ((parameter.description(), parameter.help()) for parameter in algorithm.parameterDefinitions())
    outputs = ((output.name(), output.description()) for output in algorithm.outputDefinitions())
    lines += [_head(tr("Inputs")), *_entries(inputs), _head(tr("Outputs")), *_entries(outputs)]
    return "\n".join([*lines, _head(tr("Example")), example])


def _head(title: str) -> str:
    return f"<h3>{title}</h3>"


def _entries(entries: Iterable[tuple[str, str]]) -> list[str]:
    return [f"<i>{name}</i>: {words}" for name, words in entries]
