"""What the values of labels mean to a model that was trained on other labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .labelled import BACKGROUND, UNKNOWN, ClassValue
from .values import ClassInfo

BACKGROUND_WORDS = frozenset({"0", "background", "false", "#000000"})
"""Values that mean background by themselves."""


def fitted(values: Sequence[tuple[str, str]], classes: Sequence[ClassInfo]) -> tuple[ClassValue, ...]:
    """The class of each value for a model: that of its name, else that of its number, else background.

    A number counts only if no other value has the name of its class, and if all numbers can be class values: 3, 300
    and 1000 are codes, that is, names. An empty value is unknown: something was drawn there without a class. `true`
    is the first class where there is nothing else than `true` and `false`.

    Args:
        values: each as text, with its name; for most layers the same.
    """
    names = {"background": BACKGROUND} | {info.name.casefold(): info.value for info in classes}
    sources = {source for source, _ in values if source}
    if sources and {source.casefold() for source in sources} <= {"true", "false"}:
        names = {"true": classes[0].value, "false": BACKGROUND} | names
    known = {
        source: names[text] for source, name in values for text in (source.casefold(), name.casefold()) if text in names
    }
    known |= {source: value for source, value in _numbers(sources, classes).items() if value not in known.values()}
    known |= {"": UNKNOWN}
    return tuple(
        ClassValue(source, known.get(source, BACKGROUND), name if name != source else "") for source, name in values
    )


def lacking(mapping: Iterable[ClassValue]) -> tuple[str, ...]:
    """What the values are called that count as background though they do not say so themselves."""
    called = ((entry.called or entry.source) for entry in mapping if entry.value == BACKGROUND)
    return tuple(dict.fromkeys(name for name in called if name.casefold() not in BACKGROUND_WORDS))


def finds_any(mapping: Iterable[ClassValue]) -> bool:
    """Whether a value means a class."""
    return any(BACKGROUND < entry.value < UNKNOWN for entry in mapping)


def _numbers(sources: Iterable[str], classes: Sequence[ClassInfo]) -> dict[str, int]:
    """The classes by number, background and unknown; none where numbers are codes or names."""
    numbers = [source for source in sources if _is_number(source)]
    codes = any(number not in map(str, range(UNKNOWN + 1)) for number in numbers)
    named = any(_is_number(info.name) and info.name != str(info.value) for info in classes)
    if codes or named:
        return {}
    values = (BACKGROUND, UNKNOWN, *(info.value for info in classes))
    return {str(value): value for value in values if str(value) in numbers}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
