import re

import pytest
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtGui import QColor, QDesktopServices, QPixmap, QTextDocument
from qgis.PyQt.QtWidgets import QFileDialog, QInputDialog, QMessageBox
from scene import wait_until
from test_dock import press, shown

from orthomask.protocol import ClassInfo, Drawing, ErrorCode, ModelSummary, OrthomaskError, Stage
from orthomask.ui.models import own_models
from orthomask.ui.models.card import card_html
from orthomask.ui.toolkit import trash as trash_module

CARD = {
    "accuracy": {
        "Banepa, test areas": {
            "iou": 0.512, "f1": 0.677, "precision": 0.7, "recall": 0.655, "by_place": {"north": {"iou": 0.4}},
        }
    },
    "training": {"images": 3, "places": ["Banepa & more"], "parent": {"name": "buildings"}, "gsd_m": [0.07, 0.3]},
}  # fmt: skip


def summary(path, title, **facts):
    return ModelSummary(
        **{
            "name": title.lower(), "title": title, "path": str(path), "sha256": "ef" * 32, "gsd_m": 0.2,
            "bands": ("red", "green", "blue"), "classes": (ClassInfo(1, "roof", "#aa3311"),), "threshold": 0.35,
            "licence": "CC0", "attribution": "Us", "card": CARD, **facts,
        }
    )  # fmt: skip


def drawing(prefix="", width=8):
    stages = (
        Stage(f"{prefix}stem", ("image",), 4, 512, 1, 120, 108.0),
        Stage(f"{prefix}encoder.0", (f"{prefix}stem",), width, 256, 3, 1234567, 222.7),
        Stage(f"{prefix}decoder.0", (f"{prefix}encoder.0", f"{prefix}stem"), 4, 512, 3, 500, 468.0),
        Stage(f"{prefix}head", (f"{prefix}decoder.0",), 2, 512, 1, 10, 8.0),
    )
    return Drawing(3, 512, prefix, stages)


@pytest.fixture(autouse=True)
def trash(tmp_path, monkeypatch):
    """A trash of the test's own, where the system has the one of freedesktop.org."""
    (tmp_path / "data" / "Trash").mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(own_models, "own_folder", lambda: folder)
    return folder


@pytest.fixture
def embedded():
    return summary(own_models.EMBEDDED_DIR / "buildings.safetensors", "Buildings")


@pytest.fixture
def own(own_folder):
    path = own_folder / "roofs.safetensors"
    path.write_bytes(b"weights")
    return summary(path, "Roofs")


@pytest.fixture
def panel(dock, embedded, own):
    dock.tabs.setCurrentWidget(dock.models)
    dock.models.show_models([embedded, own])
    return dock.models


def titles(panel):
    tree = panel.list
    branches = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount())]
    return {
        branch.text(0): [branch.child(row).text(0) for row in range(branch.childCount())]
        for branch in branches
        if not branch.isHidden()
    }


def test_models_are_listed_by_where_they_come_from(panel, embedded):
    assert titles(panel) == {"Embedded": ["Buildings"], "Your models": ["Roofs"]}
    assert panel.list.selected() == [embedded]
    assert "came with Orthomask" in panel.card.toPlainText()


def test_models_of_one_title_are_told_apart_by_their_files(panel, own, own_folder):
    panel.show_models([own, summary(own_folder / "roofs-2.safetensors", "Roofs")])
    assert titles(panel)["Your models"] == ["Roofs (roofs)", "Roofs (roofs-2)"]


def test_the_card_tells_everything(panel, own):
    panel.list.select([own.path])
    text = panel.card.toPlainText()
    for words in (
        "Roofs", "roof", "0.2 m per pixel", "red, green, blue", "0.35", "CC0", "Us", "efefefefefef",
        "roofs.safetensors",
        "Banepa, test areas", "0.512", "0.655", "north", "Banepa & more", "name: buildings",
    ):  # fmt: skip
        assert words in text


def test_a_card_without_accuracy_says_so_and_escapes_markup(own_folder):
    text = card_html(summary(own_folder / "x", "<b>Bold</b>", card={}, licence=""))
    assert "Not measured yet" in text
    assert "&lt;b&gt;Bold" in text
    assert "not stated" in text


def test_the_card_draws_the_network(panel, embedded, own_folder):
    model = summary(own_folder / "drawn.safetensors", "Drawn", networks=(drawing(),))
    panel.show_models([embedded, model])
    panel.list.select([model.path])
    text = panel.card.toPlainText()
    for words in ("1,235,197 parameters; 807 multiplications", "512 × 512 px", "encoder.0", "223"):
        assert words in text
    (source,) = re.findall('src="(data:image/png[^"]*)"', panel.card.toHtml())
    picture = panel.card.document().resource(QTextDocument.ResourceType.ImageResource, QUrl(source))
    image = picture.toImage() if isinstance(picture, QPixmap) else picture
    assert (image.width(), image.height()) == (300, 124)
    blue = [y for y in range(124) if QColor(image.pixel(110, y)).blue() > QColor(image.pixel(110, y)).red() + 80]
    assert min(blue) > 84  # the coarsest stage has most parameters: it is the darkest


def test_the_card_of_an_ensemble_draws_members_that_are_alike_once(panel, own_folder):
    networks = (drawing("members.0."), drawing("members.1.", 16), drawing("members.2."))
    text = card_html(summary(own_folder / "x", "Three", networks=networks))
    assert text.count("<img") == 2
    assert "Members 1, 3, each:" in text
    assert "Member 2:" in text


def test_embedded_models_are_neither_renamed_nor_deleted(panel, own):
    for button in (panel.buttons.rename, panel.buttons.delete):
        assert not button.isEnabled()
        assert "came with Orthomask" in button.toolTip()
    assert panel.buttons.duplicate.isEnabled()
    panel.list.select([own.path])
    assert panel.buttons.rename.isEnabled()
    assert panel.buttons.delete.isEnabled()
    assert not panel.buttons.join.isEnabled()
    assert "two or more" in panel.buttons.join.toolTip()


def test_use_goes_to_segment_with_that_model(panel, dock, embedded, own):
    dock.segment.model.show_models([embedded, own])
    panel.list.select([own.path])
    press(panel.buttons.use)
    assert dock.tabs.currentWidget() is dock.segment
    assert dock.segment.model.model == own
    assert dock.segment.model.threshold.value() == pytest.approx(0.35)


def test_fine_tune_goes_to_train_with_that_model(panel, dock, embedded, own):
    dock.train.show_models([embedded, own])
    panel.list.select([own.path])
    press(panel.buttons.fine_tune)
    assert dock.tabs.currentWidget() is dock.train
    assert dock.train.start.model == own


def renamed(own_folder):
    """What the engine answers when it has copied a model to `New name`."""
    path = own_folder / "New_name.safetensors"
    copy = summary(path, "New name")
    return {**copy.__dict__, "bands": list(copy.bands), "classes": [copy.classes[0].__dict__]}


def test_rename_copies_and_then_discards_the_old_file(panel, engine, own, own_folder, monkeypatch):
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("New name", True))
    engine.script(copy_model={"result": renamed(own_folder)})
    panel.list.select([own.path])
    press(panel.buttons.rename)
    wait_until(lambda: "New name" in panel.card.toPlainText() or not (own_folder / "roofs.safetensors").exists())
    (asked,) = engine.asked("copy_model")
    assert asked["model"] == own.path
    assert asked["output_path"] == str(own_folder / "New_name.safetensors")
    assert asked["title"] == "New name"
    assert not (own_folder / "roofs.safetensors").exists()
    wait_until(lambda: engine.asked("models")[-1]["folders"] == [str(own_folder)])


def test_a_rename_that_fails_keeps_the_model(panel, engine, own, own_folder, bar, monkeypatch):
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("New name", True))
    error = {"code": "disk_full", "sentence": "The disk is full.", "remedy": "Free 2 GB.", "details": ""}
    engine.script(copy_model={"error": error})
    panel.list.select([own.path])
    press(panel.buttons.rename)
    wait_until(lambda: "The disk is full. Free 2 GB." in shown(bar))
    assert (own_folder / "roofs.safetensors").exists()
    assert panel.buttons.isEnabled()


def test_duplicate_makes_an_own_model_of_an_embedded_one(panel, engine, own_folder):
    engine.script(copy_model={"result": renamed(own_folder)})
    press(panel.buttons.duplicate)
    wait_until(lambda: engine.asked("copy_model"))
    (asked,) = engine.asked("copy_model")
    assert asked["title"] == "Buildings (copy)"
    assert asked["output_path"].startswith(str(own_folder))
    assert asked["existing"] == "refuse"


def test_delete_asks_first(panel, own, own_folder, monkeypatch):
    panel.list.select([own.path])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    press(panel.buttons.delete)
    assert (own_folder / "roofs.safetensors").exists()
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    press(panel.buttons.delete)
    assert not (own_folder / "roofs.safetensors").exists()


def test_without_a_trash_a_model_is_deleted(own, own_folder, monkeypatch):
    monkeypatch.setattr(trash_module, "QFile", object)
    own_models.discard(own_folder / "roofs.safetensors")
    assert not (own_folder / "roofs.safetensors").exists()
    own_models.discard(own_folder / "roofs.safetensors")


def test_a_file_is_added_to_the_list_and_only_taken_from_it(panel, engine, monkeypatch, tmp_path):
    path = tmp_path / "friend.safetensors"
    path.write_bytes(b"weights")
    friend = summary(path, "A friend's")
    answer = {**friend.__dict__, "bands": list(friend.bands), "classes": [friend.classes[0].__dict__]}
    engine.script(models={"result": {"models": [answer]}})
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    press(panel.buttons.add)
    wait_until(lambda: "From file" in titles(panel))
    assert titles(panel)["From file"] == ["A friend's"]
    assert panel.list.selected()[0].title == "A friend's"
    assert not panel.buttons.rename.isEnabled()
    assert panel.buttons.delete.text() == "Remove"
    assert own_models.remembered_files() == [str(path)]
    press(panel.buttons.delete)
    assert "From file" not in titles(panel)
    assert path.exists()
    assert own_models.remembered_files() == []


def test_files_that_were_added_once_are_there_again(dock, embedded, engine, tmp_path):
    path = tmp_path / "friend.safetensors"
    path.write_bytes(b"weights")
    own_models.remember_files([str(path), str(tmp_path / "gone.safetensors")])
    friend = summary(path, "A friend's")
    answer = {**friend.__dict__, "bands": list(friend.bands), "classes": [friend.classes[0].__dict__]}
    engine.script(models={"result": {"models": [answer]}})
    dock.models.show_models([embedded])
    dock.tabs.setCurrentWidget(dock.models)
    wait_until(lambda: titles(dock.models).get("From file") == ["A friend's"])
    assert dock.models.list.selected() == [embedded]
    assert not any(asked["model"].endswith("gone.safetensors") for asked in engine.asked("models"))


def test_two_models_are_joined(panel, engine, embedded, own, own_folder, monkeypatch):
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("Both", True))
    engine.script(ensemble={"result": renamed(own_folder)})
    panel.list.select([embedded.path, own.path])
    assert not panel.buttons.use.isEnabled()
    press(panel.buttons.join)
    wait_until(lambda: engine.asked("ensemble"))
    (asked,) = engine.asked("ensemble")
    assert asked["models"] == [embedded.path, own.path]
    assert asked["output_path"] == str(own_folder / "Both.safetensors")


def test_the_folder_is_shown(panel, own, own_folder, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    panel.list.select([own.path])
    press(panel.buttons.reveal)
    assert opened == [QUrl.fromLocalFile(str(own_folder))]


def test_a_folder_that_cannot_be_made_is_an_error_in_words(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "file" / "models")
    with pytest.raises(OrthomaskError) as caught:
        own_models.make_folder()
    assert caught.value.code is ErrorCode.OUTPUT_UNWRITABLE


def test_models_that_cannot_be_joined_are_told_apart_before_a_name_is_asked(panel, embedded, own, own_folder):
    finer = summary(own_folder / "finer.safetensors", "Finer", gsd_m=0.1)
    panel.show_models([embedded, own, finer])
    panel.list.select([embedded.path, finer.path])
    assert not panel.buttons.join.isEnabled()
    assert panel.buttons.join.toolTip() == "“Finer” and “Buildings” work at different resolutions."
    panel.list.select([embedded.path, own.path])
    assert panel.buttons.join.isEnabled()


def test_the_card_begins_with_accuracy_and_limits_then_the_terms(embedded, own):
    for model, limits in ((embedded, "large white roofs"), (own, "Unknown beyond what was measured")):
        text = card_html(model)
        order = ("Accuracy", "0.512", limits, "CC0", "0.2 m per pixel", "SHA-256", "Training")
        places = [text.index(words) for words in order]
        assert places == sorted(places)


def test_embedded_models_are_titled_in_the_users_language(monkeypatch):
    monkeypatch.setattr(own_models, "tr", {"Buildings, aerial, 0.3 m": "Gebäude, Luftbild, 0,3 m"}.get)
    assert own_models.title_of("buildings") == "Gebäude, Luftbild, 0,3 m"


def test_the_card_is_saved_as_a_stac_item(panel, own, engine, bar, tmp_path, monkeypatch):
    engine.script(model_item={"result": {"path": str(tmp_path / "roofs.json")}})
    panel.list.select([own.path])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "roofs"), ""))
    press(panel.buttons.save_card)
    wait_until(lambda: any("The card was saved in" in item.text() for item in bar.items()))
    assert engine.asked("model_item") == [
        {"model": own.path, "output_path": str(tmp_path / "roofs.json"), "href": "", "existing": "overwrite"}
    ]
