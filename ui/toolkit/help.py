"""The user guide in a QGIS window: works offline, in the theme's colours, and opens at the right section."""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import Callable, Optional

from qgis.PyQt.QtCore import QObject, QSize, QUrl, pyqtSlot
from qgis.PyQt.QtGui import QDesktopServices, QImage, QTextBlock, QTextCursor, QTextDocument
from qgis.PyQt.QtWidgets import QApplication, QDialog, QTextBrowser, QToolButton, QVBoxLayout, QWidget

from .icons import icon
from .words import tr

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "user-guide.md"
ONLINE = "https://github.com/orthomask/orthomask/blob/main/docs/"
SCHEME = "orthomask-help"
SIZE, PICTURE_PX, MARGIN_PX = QSize(780, 720), 680, 14


class Section(enum.Enum):
    """A section of the guide that can be opened; the value is its anchor."""

    TOP = "user-guide"
    SETUP = "set-up"
    SEGMENT = "a-first-run"
    THRESHOLD = "the-threshold"
    HISTORY = "run-history"
    REVIEW = "review"
    WHY = "why"
    LABEL = "label-draw-what-is-there"
    EXPORT = "masks-and-chips"
    COLLECT = "collect"
    QUALITY = "label-quality"
    TRAIN = "train-a-model-of-your-own"
    CHANGES = "changes"
    MODELS = "models"
    EVALUATE = "how-good-is-it"
    SETTINGS = "settings"
    TOOLBOX = "in-the-toolbox-in-models-in-batch"

    @property
    def url(self) -> str:
        """A link that `QDesktopServices` passes to `GuideLinks` while the plugin is loaded."""
        return f"{SCHEME}:{self.value}"


class GuideBrowser(QTextBrowser):
    """Shows Markdown files of `docs/`, their pictures no wider than the window; other links go to the web browser.

    Alt+Left goes back.
    """

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setOpenLinks(False)
        self.setAccessibleName(tr("User guide"))
        self.anchorClicked.connect(self._follow)
        self.sourceChanged.connect(self._find)

    def show_page(self, path: Path, anchor: str = "") -> None:
        """Show this file from the heading with this anchor; from the top if there is none."""
        page = QUrl.fromLocalFile(str(path))
        if anchor:
            page.setFragment(anchor)
        self.setSource(page)

    def loadResource(self, kind: int, name: QUrl) -> object:
        """A picture of the page, sharp on high-DPI screens."""
        if kind != QTextDocument.ResourceType.ImageResource:
            return super().loadResource(kind, name)
        picture = QImage(self.source().resolved(name).toLocalFile())
        picture.setDevicePixelRatio(max(1.0, picture.width() / PICTURE_PX))
        return picture

    def _find(self, page: QUrl) -> None:
        """Scroll to the heading: Qt gives Markdown headings no anchors."""
        document = self.document()
        document.setDocumentMargin(MARGIN_PX)
        blocks = (document.findBlockByNumber(number) for number in range(document.blockCount()))
        anchor = page.fragment()
        found = next((block for block in blocks if anchor and _anchor_of(block) == anchor), document.begin())
        self.setTextCursor(QTextCursor(found))
        self.verticalScrollBar().setValue(round(document.documentLayout().blockBoundingRect(found).top()))

    def _follow(self, link: QUrl) -> None:
        page = self.source().resolved(link)
        path = Path(page.toLocalFile())
        if page.isLocalFile() and path.suffix == ".md" and path.exists():
            self.setSource(page)
        else:
            QDesktopServices.openUrl(QUrl(ONLINE).resolved(link))


class HelpWindow(QDialog):
    """The guide next to what it explains; Escape closes it."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Orthomask: user guide"))
        self.resize(SIZE)
        self.browser = GuideBrowser()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.browser)


def show_help(section: Section, parent: Optional[QWidget]) -> None:
    """Open the guide at this section, in one window per parent: a modal parent would block any other."""
    owner = parent.window() if parent is not None else None
    window = (owner.findChild(HelpWindow) if owner is not None else None) or HelpWindow(owner)
    window.show()
    window.raise_()
    window.browser.show_page(GUIDE, section.value)


class GuideLinks(QObject):
    """Opens links made by `Section.url`, wherever they are followed, until `release`."""

    def __init__(self) -> None:
        super().__init__()
        QDesktopServices.setUrlHandler(SCHEME, self, "open")

    @pyqtSlot(QUrl)
    def open(self, url: QUrl) -> None:
        """Open the guide at this section."""
        show_help(Section(url.path()), QApplication.activeWindow())

    def release(self) -> None:
        """Stop following such links."""
        QDesktopServices.unsetUrlHandler(SCHEME)


def help_button(section: Callable[[], Section]) -> QToolButton:
    """A `?` button that opens the guide at `section()`."""
    button = QToolButton()
    button.setIcon(icon("help"))
    button.setAutoRaise(True)
    button.setToolTip(tr("Open the user guide here"))
    button.setAccessibleName(tr("Help"))
    button.clicked.connect(lambda: show_help(section(), button))
    return button


def anchors(markdown: str) -> list[str]:
    """The anchors of the headings in a Markdown text."""
    return [_slug(heading) for heading in re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)]


def _anchor_of(block: QTextBlock) -> str:
    """The anchor of a heading; empty for anything else."""
    is_heading = block.blockFormat().headingLevel() > 0 or block.text().startswith("#")
    return _slug(block.text().lstrip("# ")) if is_heading else ""


def _slug(heading: str) -> str:
    """An anchor as on GitHub: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
