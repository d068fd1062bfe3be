"""Segment the bundled sample with `qgis_process` and the plugin in a private profile, then map the result.

Usage: make demo, or with a Python that has QGIS and this folder importable as `orthomask`:

    python docs/demo.py FOLDER [IMAGE] [MODEL] [PICTURE]

PICTURE is a smaller copy of the map, as a JPEG for the readme.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "resources" / "sample" / "banepa.tif"
ATTRIBUTION = "Imagery © OpenAerialMap contributors, CC BY 4.0"
MAP_PX, PICTURE_PX = 1600, 900


def environment() -> dict[str, str]:
    """A separate QGIS: no screen, a private profile, this folder as its only plugin."""
    runtime = ROOT / ".venv" / "runtime"
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "QGIS_PLUGINPATH": str(ROOT / ".venv" / "plugins"),
        "QGIS_CUSTOM_CONFIG_PATH": str(ROOT / ".venv" / "profile"),
        "ORTHOMASK_PYTHON": str(ROOT / ".venv" / "engine" / "bin" / "python"),
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(runtime),
    }


def qgis_process(*arguments: str) -> str:
    """Run `qgis_process` and return what it prints."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process") or "qgis_process"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode and "already enabled" not in done.stdout + done.stderr:
        sys.exit(f"qgis_process failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def draw_map(photograph: Path, folder: Path, picture: Path | None) -> None:
    """Draw the photograph with a run's polygons in the plugin's styles."""
    from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsProject, QgsRasterLayer
    from qgis.PyQt.QtCore import QSize, Qt

    from orthomask.ui.runs.results import add_run, read_run

    application = QgsApplication([], False)
    application.initQgis()
    image = QgsRasterLayer(str(photograph), "image")
    group = add_run(QgsProject.instance(), read_run(folder))
    settings = QgsMapSettings()
    settings.setLayers([group.findLayers()[0].layer(), image])
    settings.setDestinationCrs(image.crs())
    settings.setExtent(image.extent())
    settings.setOutputSize(QSize(MAP_PX, round(MAP_PX * image.height() / image.width())))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    drawn = job.renderedImage()
    drawn.save(str(folder / "map.png"))
    if picture:
        drawn.scaledToWidth(PICTURE_PX, Qt.TransformationMode.SmoothTransformation).save(str(picture), "JPEG", 80)
    del job, settings, group, image  # QGIS crashes on exit if Python still holds its objects
    QgsProject.instance().clear()
    application.exitQgis()


def main() -> None:
    """Run, draw, and print what was found."""
    given = sys.argv[1:]
    output, image, model, *rest = [*given, *("demo-output", str(SAMPLE), "buildings")[len(given) :]]
    folder, photograph = Path(output).resolve(), Path(image).resolve()
    os.environ.update(environment())
    started = time.monotonic()
    qgis_process("plugins", "enable", "orthomask")
    parameters = f"IMAGE={photograph}", f"MODEL={model}", "EXISTING=1", f"OUTPUT={folder}"
    printed = qgis_process("--json", "run", "orthomask:segment", "--", *parameters)
    found = json.loads(printed[printed.index("{") :])["results"]
    draw_map(photograph, folder, Path(rest[0]).resolve() if rest else None)
    print(f"{found['POLYGON_COUNT']} polygons of {model}, {found['POLYGON_AREA_M2']:,.0f} m²,")
    print(f"on {found['DEVICE_USED']} in {found['SECONDS']:.1f} s, {time.monotonic() - started:.1f} s with QGIS.")
    if photograph == SAMPLE:
        print(ATTRIBUTION)
    for path in sorted(folder.glob("*.*")):
        print(f"  {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
