"""The dock and the toolbox in each language, and where the language comes from."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from qgis.PyQt.QtCore import QCoreApplication, QLocale
from qgis.PyQt.QtWidgets import QAbstractButton, QGroupBox, QLabel, QTabWidget
from scene import wait_until

import orthomask
from orthomask.protocol import words
from orthomask.ui.dock import OrthomaskDock
from orthomask.ui.processing.provider import OrthomaskProvider
from orthomask.ui.toolkit.words import area_in_words, briefly, in_digits

NARROW_PX = 350
TABS = {
    "de": ["Segment", "Prüfen", "Label", "Trainieren", "Änderungen", "Modelle"],
    "es": ["Segmentar", "Revisar", "Etiquetar", "Entrenar", "Cambios", "Modelos"],
    "fr": ["Segmenter", "Vérifier", "Étiqueter", "Entraîner", "Changements", "Modèles"],
    "zh-Hans": ["分割", "审核", "标注", "训练", "变化", "模型"],
}


@pytest.fixture
def speak():
    yield words.speak
    words.speak("")
    QLocale.setDefault(QLocale.c())


@pytest.fixture(params=TABS)
def language(request, speak):
    speak(request.param)
    return request.param


@pytest.fixture
def translated_dock(language, qgis_iface, canvas, layer, client, bar, tmp_path):
    canvas.setExtent(layer.extent())
    dock = OrthomaskDock(qgis_iface, client)
    dock.segment.options.folder_chooser.setFilePath(str(tmp_path / "runs"))
    dock.resize(NARROW_PX, 900)
    dock.show()
    wait_until(lambda: dock.segment.model.model is not None and dock.segment.preflight.result is not None)
    yield dock
    dock.release()
    dock.deleteLater()
    QCoreApplication.processEvents()


def test_the_dock_speaks_the_language_and_nothing_in_it_is_cut_off(translated_dock, language):
    tabs = translated_dock.findChild(QTabWidget)
    assert [tabs.tabToolTip(index) for index in range(tabs.count())] == TABS[language]  # beside icons, if too long
    assert translated_dock.widget().minimumSizeHint().width() <= NARROW_PX
    assert tabs.tabBar().tabRect(tabs.count() - 1).right() <= tabs.width()
    for index in range(tabs.count()):
        tabs.setCurrentIndex(index)
        for _ in range(3):
            QCoreApplication.processEvents()
        assert not [words_of(widget) for widget in shown_texts(translated_dock) if is_cut(widget)]


def shown_texts(dock):
    found = [*dock.findChildren(QAbstractButton), *dock.findChildren(QLabel), *dock.findChildren(QGroupBox)]
    return [widget for widget in found if widget.isVisible() and words_of(widget)]


def words_of(widget):
    return widget.title() if isinstance(widget, QGroupBox) else widget.text()


def is_cut(widget):
    """Whether its text needs more room than it has; what wraps needs height."""
    if isinstance(widget, QGroupBox):
        return widget.fontMetrics().horizontalAdvance(words_of(widget)) > widget.width()
    if isinstance(widget, QLabel) and widget.wordWrap():
        return widget.heightForWidth(widget.width()) > widget.height() + 1
    return widget.minimumSizeHint().width() > widget.width()


def test_the_toolbox_speaks_the_language(language, client, qgis_processing):
    provider = OrthomaskProvider(client)
    provider.loadAlgorithms()
    english = {algorithm.name(): type(algorithm).TITLE for algorithm in provider.algorithms()}
    for algorithm in provider.algorithms():
        algorithm.initAlgorithm({})
        assert algorithm.displayName() != english[algorithm.name()]
        assert algorithm.group() == words.tr(algorithm.GROUP.value)
        for parameter in algorithm.parameterDefinitions():
            if len(words.tr(parameter.help())) > 40:
                assert not parameter.help().startswith(("The ", "A ", "Polygons"))


def test_numbers_are_written_as_in_the_language_of_numbers(speak):
    speak("de")
    QLocale.setDefault(QLocale("de_DE"))
    assert in_digits(12345) == "12.345"
    assert briefly(0.15) == "0,15"
    assert area_in_words(12_345_678) == "12,3 km²"


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        ({"locale/overrideFlag": True, "locale/userLocale": "de"}, "C.UTF-8", "Bild segmentieren"),
        ({"locale/overrideFlag": True, "locale/userLocale": "zh-Hans"}, "C.UTF-8", "分割影像"),
        ({"locale/overrideFlag": True, "locale/userLocale": "en_US"}, "fr_FR.UTF-8", "Segment image"),
        ({}, "fr_FR.UTF-8", "Segmenter une image"),
        ({}, "C.UTF-8", "Segment image"),
    ],
)
def test_the_language_is_that_of_qgis(tmp_path, settings, environment, said):
    code = """
        import sys
        from qgis.core import QgsApplication, QgsSettings
        application = QgsApplication([], False)
        application.initQgis()
        for name, value in SETTINGS.items():
            QgsSettings().setValue(name, value)
        import orthomask
        plugin = orthomask.classFactory(None)
        plugin.initProcessing()
        from orthomask.ui.client.environment import child_options
        from orthomask.protocol.words import language
        assert child_options()["env"]["ORTHOMASK_LANGUAGE"] == language()
        sys.stdout.buffer.write(application.processingRegistry().algorithmById("orthomask:segment").displayName().encode())
        sys.stdout.flush()
        plugin.unload()
    """.replace("SETTINGS", repr(settings))
    variables = {
        **os.environ, "LC_ALL": environment, "LANG": environment, "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(orthomask.__file__).parents[1]), *sys.path]),
    }  # fmt: skip
    variables.pop("LANGUAGE", None)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=variables, capture_output=True, check=False
    )
    assert done.stdout.decode().strip().endswith(said), done.stderr.decode()


def test_thousands_are_separated_though_qgis_leaves_that_out(speak):
    locale = QLocale("en_US")
    locale.setNumberOptions(QLocale.NumberOption.OmitGroupSeparator)
    QLocale.setDefault(locale)
    assert in_digits(1_234_567) == "1,234,567"
    assert area_in_words(1.36550853e14) == "136,550,853 km²"
