import re
from pathlib import Path

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt, QUrl
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialogButtonBox, QToolButton

from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.processing import help_page
from orthomask.ui.processing.provider import ALGORITHMS, OrthomaskProvider
from orthomask.ui.toolkit import help as guide
from orthomask.ui.toolkit.help import GUIDE, GuideLinks, HelpWindow, Section, anchors, show_help

ROOT = GUIDE.parent.parent
LINK = re.compile(r"\]\(([^)\s]+)\)")
NEW_PAGE = 16  # pixels that a heading may lie below the upper edge


@pytest.fixture(scope="module")
def algorithms(qgis_processing):
    provider = OrthomaskProvider(None)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider.algorithms()
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def opened(monkeypatch):
    """The addresses that go to the web browser."""
    found = []
    monkeypatch.setattr(guide.QDesktopServices, "openUrl", lambda url: found.append(url.toString()))
    return found


@pytest.fixture(scope="module")
def window(qgis_app):
    window = HelpWindow()
    window.show()
    yield window
    window.close()


def heading(window):
    return window.browser.textCursor().block().text()


@pytest.mark.parametrize("section", Section)
def test_every_section_that_code_names_is_in_the_guide(section):
    assert section.value in anchors(GUIDE.read_text(encoding="utf-8"))


def test_links_of_the_guide_lead_somewhere_and_what_it_shows_is_packaged():
    packaged = re.search(r"^PACKAGED := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    text = GUIDE.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = GUIDE.parent / path if path else GUIDE
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link
        if target.suffix in {".md", ".png", ".jpg"}:
            parts = target.relative_to(ROOT).parts
            assert {"/".join(parts[:length]) for length in range(1, len(parts) + 1)} & set(packaged.split()), link


@pytest.mark.parametrize("section", Section)
def test_the_window_opens_at_the_section(window, section):
    window.browser.show_page(GUIDE, section.value)
    assert anchors(f"# {heading(window)}") == [section.value]
    bar = window.browser.verticalScrollBar()
    assert window.browser.cursorRect().top() <= NEW_PAGE or bar.value() == bar.maximum()


def test_there_is_one_window_for_each_window_that_asks(dock):
    show_help(Section.MODELS, dock)
    show_help(Section.SETUP, dock.tabs)
    (window,) = dock.window().findChildren(HelpWindow)
    assert heading(window) == "Set up"
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isVisible()


def test_the_docks_button_opens_the_section_of_the_panel_in_front(dock):
    for panel, title in (
        (dock.segment, "A first run"),
        (dock.label, "Label: draw what is there"),
        (dock.train, "Train: a model of your own"),
        (dock.models, "Models"),
    ):
        dock.tabs.setCurrentWidget(panel)
        dock.help.click()
        assert heading(dock.window().findChild(HelpWindow)) == title


def test_help_of_a_window_belongs_to_it_so_that_a_modal_one_does_not_block_it(dock, layer):
    dialog = NewProjectDialog("/tmp", layer.crs(), ())
    dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Help).click()
    assert dialog.findChild(HelpWindow).isVisible()
    dialog.close()


def test_setting_up_and_evaluating_have_help(dock):
    dock.set_up()
    dock.evaluate("/models/fields.safetensors", "Farmland")
    for window, title in ((dock.setup, "Set up"), (dock.children()[-1], "How good is it?")):
        (button,) = (found for found in window.findChildren(QToolButton) if found.accessibleName() == "Help")
        button.click()
        assert heading(window.findChild(HelpWindow)) == title
        window.close()


def test_links_stay_in_the_window_where_the_page_is_here(window, opened):
    window.browser.show_page(GUIDE)
    window.browser.anchorClicked.emit(QUrl("models/buildings.md"))
    assert heading(window) == (GUIDE.parent / "models" / "buildings.md").read_text().splitlines()[0].lstrip("# ")
    window.browser.backward()
    assert window.browser.source() == QUrl.fromLocalFile(str(GUIDE))
    window.browser.anchorClicked.emit(QUrl("#keyboard"))
    assert heading(window) == "Keyboard"
    window.browser.anchorClicked.emit(QUrl("tutorial.ipynb"))
    window.browser.anchorClicked.emit(QUrl("https://qgis.org"))
    assert opened == [f"{guide.ONLINE}tutorial.ipynb", "https://qgis.org"]


def test_pictures_fit_into_the_window(window):
    window.browser.show_page(GUIDE)
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", GUIDE.read_text(encoding="utf-8"))
    assert len(images) > 5
    for name in images:
        picture = window.browser.loadResource(2, QUrl(name))
        assert 0 < picture.width() / picture.devicePixelRatio() <= guide.PICTURE_PX


def test_an_algorithms_help_button_opens_the_guide(qgis_app, monkeypatch):
    shown = []
    monkeypatch.setattr(guide, "show_help", lambda section, parent: shown.append(section))
    links = GuideLinks()
    for section in Section:
        assert QDesktopServices.openUrl(QUrl(section.url))
    links.release()
    assert not QDesktopServices.openUrl(QUrl(Section.TOP.url))
    assert shown == list(Section)


def test_algorithms_have_icons_of_their_own(algorithms):
    files = [Path(algorithm.svgIconPath()) for algorithm in algorithms]
    assert len(algorithms) == len(ALGORITHMS) == len({file.read_bytes() for file in files})
    for algorithm, file in zip(algorithms, files):
        assert file.stem == algorithm.name()
        assert not algorithm.icon().pixmap(16, 16).isNull()


def test_algorithms_have_groups_tags_and_help(algorithms):
    assert {algorithm.groupId() for algorithm in algorithms} == {"segment", "review", "label", "train", "changes"}
    for algorithm in algorithms:
        text = algorithm.shortHelpString()
        assert algorithm.group()
        assert len(algorithm.tags()) > 3
        assert all(algorithm.tags())
        assert Section(algorithm.helpUrl().partition(":")[2])
        for parameter in algorithm.parameterDefinitions():
            assert parameter.help(), parameter.name()
            assert f"<i>{parameter.description()}</i>: {parameter.help()}" in text
        for output in algorithm.outputDefinitions():
            assert f"<i>{output.name()}</i>: {output.description()}" in text
        assert text.startswith(type(algorithm).HELP.splitlines()[0])
        assert type(algorithm).EXAMPLE
        assert text.endswith(type(algorithm).EXAMPLE)


def test_help_in_a_terminal_has_no_markup(algorithms, monkeypatch):
    monkeypatch.setattr(help_page.QgsApplication, "platform", lambda: "qgis_process")
    for algorithm in algorithms:
        assert not re.search(r"</?\w+>", algorithm.shortHelpString())
        assert algorithm.shortHelpString().endswith(type(algorithm).EXAMPLE)
