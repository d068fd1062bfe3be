"""The page in Gradio: its layout, and what each control does. Only this module imports Gradio."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
from fastapi import FastAPI

from ...engine import html
from ...protocol import Cancelled, CheckResult, Level, ModelSummary, OrthomaskError
from ...protocol.words import tr
from .pictures import SAMPLES, Unplaced
from .session import Session, Shown

LEAST, MOST, STEP = 0.01, 0.99, 0.01
"""Of the threshold's slider."""
SEEN, HIDDEN, HIDDEN_NUMBER = gr.update(visible=True), gr.update(visible=False), gr.update(visible=False, value=None)
MARKS = {Level.GREEN: "✓", Level.AMBER: "!", Level.RED: "✗"}
SUFFIXES = [".tif", ".tiff", ".png", ".jpg", ".jpeg"]


class Site:
    """The page for some models; each tab of the browser has a session.

    Args:
        folder: of the sessions.
    """

    def __init__(self, models: Sequence[ModelSummary], folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, Session] = {}
        with gr.Blocks(title="Orthomask", analytics_enabled=False, delete_cache=(3600, 86400)) as self.blocks:
            self._lay_out(models)
            self._connect()

    def app(self, largest: str) -> Any:
        """The page as an ASGI application that takes files up to a size, such as `500mb`."""
        return gr.mount_gradio_app(
            FastAPI(openapi_url=None), self.blocks, "/", footer_links=[], run_history=False, max_file_size=largest,
            ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=_theme(),
            css_paths=html.RESOURCES / "web.css",
        )  # fmt: skip

    def _lay_out(self, models: Sequence[ModelSummary]) -> None:
        about = tr("Buildings and farmland from orthophotos. Pictures stay on this computer.")
        gr.HTML(f"<h1>Orthomask</h1><p>{escape(about)}</p>", elem_id="head")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._lay_out_choices(models)
            with gr.Column(scale=3, min_width=300):
                title = escape(tr("Map"))
                frame = f'<iframe sandbox="allow-scripts" title="{title}"></iframe>'
                script = (html.RESOURCES / "web.js").read_text(encoding="utf-8")
                self._map = gr.HTML({}, html_template=frame, js_on_load=script, elem_id="map")
                self._credit = gr.HTML(elem_id="credit")
                with gr.Column(visible=False) as self._result:
                    self._lay_out_result()

    def _lay_out_choices(self, models: Sequence[ModelSummary]) -> None:
        names = [(tr(model.title), model.path) for model in models]
        samples = [(tr(sample.title), sample.path) for sample in SAMPLES]
        self._model = gr.Dropdown(names, value=names[0][1], label=tr("Model"), elem_id="model")
        self._sample = gr.Radio(samples, value=SAMPLES[0].path, label=tr("Sample"), elem_id="sample")
        self._file = gr.File(
            label=tr("Or your own: GeoTIFF, PNG or JPEG"), file_types=SUFFIXES, height=150, elem_id="file"
        )
        self._gsd = gr.Number(label=tr("Metres per pixel"), visible=False, elem_id="gsd")
        self._run = gr.Button(tr("Run"), variant="primary", elem_id="run")
        self._cancel = gr.Button(tr("Cancel"), variant="stop", visible=False, elem_id="cancel")
        self._progress = gr.HTML(visible=False, elem_id="progress")
        self._lights = gr.HTML(elem_id="lights")

    def _lay_out_result(self) -> None:
        with gr.Row():
            words = tr("Lower finds more, higher only what is more certain. The model does not run again.")
            with gr.Column(min_width=280):
                self._threshold = gr.Slider(
                    LEAST, MOST, step=STEP, label=tr("Threshold"), info=words, buttons=[], elem_id="threshold"
                )
            with gr.Column(min_width=280):
                self._table = gr.HTML(elem_id="table")
        with gr.Row():
            self._files = [gr.DownloadButton(size="md", min_width=200, elem_id=f"file-{number}") for number in range(3)]

    def _connect(self) -> None:
        queued: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 1, "api_visibility": "private"}
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        seen = [self._map, self._lights, self._credit, self._result]
        choices = [self._sample, self._file, self._gsd]
        for event, reset in (
            (self.blocks.load, [gr.skip(), gr.skip(), gr.skip()]),
            (self._sample.input, [gr.skip(), None, HIDDEN_NUMBER]),
            (self._file.upload, [None, gr.skip(), HIDDEN_NUMBER]),
            (self._file.clear, [SAMPLES[0].path, gr.skip(), HIDDEN_NUMBER]),
            (self._gsd.input, [gr.skip(), gr.skip(), gr.skip()]),
        ):
            event(self._clearing(reset), None, [*seen, *choices], **at_once).then(
                self._chosen, [self._model, *choices], [*seen, self._gsd], show_progress_on=self._lights, **queued
            )
        self._model.input(self._checked, self._model, self._lights, **queued)
        changing, shown = [self._run, self._cancel, self._progress], [self._map, self._table, self._files[0]]
        self._run.click(self._begun, None, [*changing, self._result], **at_once).then(
            self._ran, self._model, [self._result, self._threshold, *shown, *self._files[1:]],
            show_progress_on=self._progress, **queued,
        ).then(lambda: [SEEN, HIDDEN, HIDDEN], None, changing, **at_once)  # fmt: skip
        self._cancel.click(self._stopped, None, None, **at_once)
        self._threshold.input(
            self._moved, self._threshold, shown, trigger_mode="always_last", show_progress="hidden", **queued
        )
        self.blocks.unload(self._left)

    def _session(self, request: gr.Request) -> Session:
        """That of the tab that asks."""
        name = str(request.session_hash)
        if name not in self._sessions:
            self._sessions[name] = Session(Path(tempfile.mkdtemp(dir=self._folder)))
        return self._sessions[name]

    def _clearing(self, reset: list[Any]) -> Callable[..., list[Any]]:
        """A handler after which nothing is seen or runs until another picture is open; it resets what that replaces."""

        def cleared(request: gr.Request) -> list[Any]:
            self._session(request).cancel()
            return [{"page": ""}, "", "", HIDDEN, *reset]

        return cleared

    def _chosen(
        self, model: str, sample: str | None, file: str | None, gsd_m: float | None, request: gr.Request
    ) -> list[Any]:
        session, credit = self._session(request), {each.path: each.credit for each in SAMPLES}.get(sample or "", "")
        try:
            page = session.choose(sample or "", file or "", gsd_m)
            if not session.is_placed:
                credit = tr(
                    "The picture has no position: in the files, it lies at 0° N 0° E, in metres from its upper left."
                )
            return [{"page": page}, _lights(session.check(model)), escape(credit), HIDDEN, gr.skip()]
        except Unplaced as error:
            return [gr.skip(), f'<p class="amber"><b>!</b> {escape(str(error))}</p>', "", HIDDEN, SEEN]
        except OrthomaskError as error:
            _refuse(error)

    def _checked(self, model: str, request: gr.Request) -> str:
        try:
            return _lights(self._session(request).check(model))
        except OrthomaskError as error:
            _refuse(error)

    def _begun(self, request: gr.Request) -> list[Any]:
        self._session(request).begin()
        return [HIDDEN, SEEN, SEEN, HIDDEN]

    def _ran(self, model: str, request: gr.Request, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008 (Gradio's way)
        try:
            shown = self._session(request).run(model, lambda done, words: progress(done, desc=words))
        except Cancelled as cancelled:
            gr.Info(escape(cancelled.sentence))
            return [gr.skip()] * 7
        except OrthomaskError as error:
            _refuse(error)
        classes = _download(tr("Classes at {:.2f} (GeoTIFF)").format(shown.threshold), shown.files[1])
        probabilities = _download(tr("Probabilities (GeoTIFF)"), shown.files[2])
        return [SEEN, shown.threshold, *_parts(shown), classes, probabilities]

    def _stopped(self, request: gr.Request) -> None:
        self._session(request).cancel()

    def _moved(self, threshold: float, request: gr.Request) -> list[Any]:
        try:
            return _parts(self._session(request).at(threshold))
        except OrthomaskError as error:
            _refuse(error)

    def _left(self, request: gr.Request) -> None:
        self._session(request).close()
        del self._sessions[str(request.session_hash)]

    def close(self) -> None:
        """Stop all runs."""
        for session in self._sessions.values():
            session.close()


def _parts(shown: Shown) -> list[Any]:
    """The objects on the map, their table, and their file."""
    heads = "".join(f"<th>{escape(head)}</th>" for head in (tr("Class"), tr("Objects"), tr("Area")))
    rows = "".join(
        f'<tr><td><i style="background:{color}"></i>{escape(name)}</td><td>{count}</td><td>{area}</td></tr>'
        for color, name, count, area in shown.rows
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in shown.notes)
    polygons = _download(tr("Polygons at {:.2f} (GeoPackage)").format(shown.threshold), shown.files[0])
    return [{"drawn": shown.drawn}, f"<table><tr>{heads}</tr>{rows}</table>{notes}", polygons]


def _download(label: str, path: Path) -> Any:
    return gr.update(value=str(path), label=label)


def _lights(result: CheckResult) -> str:
    return "".join(
        f'<p class="{light.level.value}"><b>{MARKS[light.level]}</b> {escape(light.reason)}</p>'
        for light in result.lights
    )


def _refuse(error: OrthomaskError) -> NoReturn:
    """Show an error in Gradio's way, which reads messages as HTML."""
    words = f"{escape(error.sentence)}<br>{escape(error.remedy)}"
    raise gr.Error(words, duration=None, print_exception=False) from error


def _theme() -> Any:
    """Gradio's own with the fonts of the computer: it asks no server for others."""
    return gr.themes.Default(primary_hue="blue", font=("system-ui", "sans-serif"), font_mono=("monospace",))
