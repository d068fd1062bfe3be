"""An engine for tests: speaks the worker's protocol with the standard library alone, as a script file tells it.

FAKE_WORKER names a JSON file, read again for each request: by method, `steps` and `step_seconds` of progress, `deaf` to
ignore cancel, `die_at` to die in that step, `until` there is such a file, `error` or `result` to answer. Requests are
appended to `<file>.log`.
`predict` copies the run folder that FAKE_RUN names into its output folder, after the files in `previews`, one in each
step, as its preview; `project`, `areas` and `mask` copy one file of that folder. With a request are logged the
attributes in the GeoPackages that it names, by layer, as `seen`.
"""

import json
import os
import queue
import shutil
import sqlite3
import struct
import sys
import threading
import time

SCRIPT = os.environ["FAKE_WORKER"]
MODELS = {
    "models": [
        {
            "name": "buildings", "title": "Buildings", "path": "/models/buildings.safetensors", "sha256": "ab" * 32,
            "gsd_m": 0.15, "bands": ["red", "green", "blue"], "threshold": 0.4, "licence": "CC-BY-4.0",
            "attribution": "Somebody", "card": {},
            "classes": [{"value": 1, "name": "building", "color": "#dc3228", "outline": "squared"}],
        },
        {
            "name": "fields", "title": "Farmland", "path": "/models/fields.safetensors", "sha256": "cd" * 32,
            "gsd_m": 10.0, "bands": ["red", "green", "blue", "nir"], "threshold": 0.5, "licence": "CC-BY-4.0",
            "attribution": "Somebody else", "card": {},
            "classes": [
                {"value": 1, "name": "field", "color": "#4daf4a", "outline": "shared"},
                {"value": 2, "name": "orchard", "color": "#984ea3", "outline": "shared"},
            ],
        },
    ]
}  # fmt: skip
INFO = {
    "version": "0.1.0", "device": "cpu", "device_name": "Test processor", "device_reason": "There is no GPU.",
    "precision": "fp32", "versions": {"torch": "2"},
}  # fmt: skip
CHECK = {
    "lights": [
        {"name": "bands", "level": "green", "reason": "The model reads red, green and blue."},
        {"name": "resolution", "level": "amber", "reason": "The image is a little coarse."},
    ],
    "windows": 12, "seconds": 90.0, "device": "Test processor",
}  # fmt: skip

CHECK_TRAINING = {
    "lights": [
        {"name": "objects", "level": "green", "reason": "Enough to learn from."},
        {"name": "areas", "level": "amber", "reason": "Is nothing there, or not drawn yet?"},
    ],
    "seconds": 360.0, "device": "Test processor",
}  # fmt: skip
CORNERS = ((8, 12), (16, 12), (16, 4), (8, 4), (8, 12))
SQUARE = struct.pack("<2s2Bi", b"GP", 0, 1, 32645) + struct.pack("<BIIBIII", 1, 6, 1, 1, 3, 1, 5)
SQUARE += b"".join(struct.pack("<2d", 500_000 + x, 3_000_000 - y) for x, y in CORNERS)
"""A square on the photograph, as GeoPackages store a multipolygon."""

MARKS = {"iou": 0.5, "object_precision": 0.6, "object_recall": 0.4, "object_f1": 0.48}
BETTER = {"iou": 0.71, "object_precision": 0.8, "object_recall": 0.68, "object_f1": 0.74}
GAIN = {"before": MARKS, "after": BETTER, "areas": 4, "low": 0.12, "high": 0.3}
HOME = {"before": MARKS, "after": MARKS, "areas": 35, "low": -0.01, "high": 0.01}
CHECK_LEARNING = {
    "counts": {"train": 6, "validation": 2, "test": 2, "todo": 3}, "problem": "", "seconds": 180.0,
    "device": "Test processor",
}  # fmt: skip

cancelled = set()


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def script(method):
    with open(SCRIPT, encoding="utf-8") as file:
        return json.load(file).get(method, {})


def log(message):
    with open(SCRIPT + ".log", "a", encoding="utf-8") as file:
        facts = {"pid": os.getpid(), "environment": dict(os.environ), "seen": dict(look(message))}
        file.write(json.dumps({**message, **facts}) + "\n")


def look(value):
    """The attributes in the first layer of each GeoPackage that is named somewhere in the message."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from look(item)
    elif isinstance(value, str) and value.endswith(".gpkg") and os.path.exists(value):
        with sqlite3.connect(f"file:{value}?mode=ro", uri=True) as database:
            (table,) = next(database.execute("SELECT table_name FROM gpkg_contents"))
            yield table, [row[2:] for row in database.execute(f'SELECT * FROM "{table}" ORDER BY fid')]


def predict(params):
    folder = params["output_dir"]
    shutil.copytree(os.environ["FAKE_RUN"], folder, dirs_exist_ok=True)
    return {
        "run_id": "0123456789ab", "classes_path": f"{folder}/classes.tif",
        "probabilities_path": f"{folder}/probabilities.tif", "polygons_path": f"{folder}/polygons.gpkg",
        "polygon_count": 2, "polygon_area_m2": 250.0, "device": "Test processor", "seconds": 3.0, "warnings": [],
    }  # fmt: skip


def show_preview(path, folder):
    os.makedirs(folder + "/.orthomask", exist_ok=True)
    shutil.copy(path, folder + "/.orthomask/preview.new")
    os.replace(folder + "/.orthomask/preview.new", folder + "/.orthomask/preview.tif")


def polygonize(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/polygons.gpkg", params["output_path"])
    with sqlite3.connect(params["output_path"]) as database:
        for name in ("threshold", "request"):
            database.execute(f"ALTER TABLE orthomask_runs ADD COLUMN {name} TEXT")
        row = ("0123456789ab", str(params["threshold"]), json.dumps({"polygons": params["polygons"]}))
        database.execute("INSERT INTO orthomask_runs (run, threshold, request) VALUES (?, ?, ?)", row)
    return {"polygons_path": params["output_path"], "polygon_count": 2, "polygon_area_m2": 250.0, "seconds": 1.0}


def project(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/project.gpkg", params["output_path"])
    return {"project_path": params["output_path"]}


def areas(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/areas.gpkg", params["output_path"])
    return {"areas_path": params["output_path"], "count": 2, "warnings": []}


def suggest(params):
    with sqlite3.connect(params["output_path"]) as project:
        columns = {row[1] for row in project.execute("PRAGMA table_info(areas)")}
        for name, kind in (("state", "TEXT"), ("reason", "TEXT"), ("rank", "INTEGER"), ("seconds", "REAL")):
            if name not in columns:
                project.execute(f"ALTER TABLE areas ADD COLUMN {name} {kind}")
        # GDAL's triggers keep the spatial index, with functions that SQLite alone does not have
        for (name,) in project.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            project.execute(f'DROP TRIGGER "{name}"')
        (there,) = next(project.execute("SELECT count(*) FROM areas"))
        for number in range(1, params["count"] + 1):
            project.execute(
                "INSERT INTO areas (geom, name, split, state, reason, rank, seconds) "
                "VALUES (?, ?, 'train', 'todo', 'Unsure of 12% of the pixels', ?, 0)",
                (SQUARE, f"square {there + number}", number),
            )
    return {"areas_path": params["output_path"], "count": params["count"], "warnings": ["Only so many fit."]}


def mask(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/classes.tif", params["output_path"])
    counts = [{"value": 1, "name": "field", "pixels": 40, "objects": 2}]
    return {"mask_path": params["output_path"], "counts": counts, "unknown_px": 7, "seconds": 1.0, "warnings": []}


def inspect(params):
    os.makedirs(os.path.dirname(params["output_path"]), exist_ok=True)
    shutil.copy(os.environ["FAKE_RUN"] + "/findings.gpkg", params["output_path"])
    shift = {"east_m": 1.2, "north_m": -0.4, "margin_m": 0.1, "labels": 40, "x": 1.2, "y": -0.4}
    counts = {"shifted": 1, "unlabelled": 1, "contradicted": 1, "double": 0}
    answer = {"findings_path": params["output_path"], "counts": counts, "labels": 40, "shift": shift}
    return {**answer, "moved_path": "", "seconds": 1.0, "warnings": []}


def chips(params):
    os.makedirs(params["output_dir"])
    counts, left_out = {"train": 7, "validation": 2, "test": 1}, {"empty": 3}
    path = params["output_dir"] + "/manifest.json"
    return {"manifest_path": path, "counts": counts, "left_out": left_out, "seconds": 1.0, "warnings": []}


def collect(params):
    """A label project of two areas and, if imagery is wanted, an image for each zoom level."""
    folder = params["output_dir"]
    os.makedirs(folder, exist_ok=True)
    path = shutil.copy(os.environ["FAKE_RUN"] + "/areas.gpkg", folder + "/labels.gpkg")
    sources = [("labels", "https://overpass.example", "© OpenStreetMap contributors", "ODbL 1.0", "2026-11-29")]
    open(folder + "/collection.json", "w").close()
    images, imagery = [], params["imagery"]
    if imagery:
        sources.append(("imagery", imagery["url"], imagery["attribution"], imagery["licence"], ""))
    for zoom in imagery["zooms"] if imagery else ():
        os.makedirs(f"{folder}/images/zoom_{zoom}", exist_ok=True)
        images.append(shutil.copy(os.environ["FAKE_RUN"] + "/classes.tif", f"{folder}/images/zoom_{zoom}/area_001.tif"))
    with sqlite3.connect(path) as project:
        columns = "kind TEXT, source TEXT, attribution TEXT, licence TEXT, date TEXT, collected_at TEXT"
        project.execute(f"CREATE TABLE orthomask_sources (fid INTEGER PRIMARY KEY, {columns})")
        row = "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES (?, 'attributes', ?)"
        project.execute(row, ("orthomask_sources", "orthomask_sources"))
        for source in sources:
            values = (*source, "2026-11-30T10:00:00Z")
            project.execute("INSERT INTO orthomask_sources VALUES (NULL, ?, ?, ?, ?, ?, ?)", values)
    labels = {"building": 3} if params["osm"] or params["vectors"] else {}
    return {
        "project_path": path, "images": images, "recipes": [], "areas": 2, "labels": labels,
        "warnings": ["One tile is missing."] if images else [], "seconds": 4.0,
    }  # fmt: skip


def learn(params):
    folder = params["output_dir"]
    return {
        "model_path": f"{folder}/{params['name'] or 'candidate'}.safetensors", "run_dir": folder, "share": 0.6,
        "here": GAIN, "home": HOME, "better": True, "verdict": "Better here by 0.21 IoU; at home as good as before.",
        "squares": "f1e2", "seconds": 170.0, "warnings": [],
    }  # fmt: skip


def compare(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/differences.gpkg", params["output_path"])
    counts = {"gained": 2, "lost": 1, "reshaped": 1}
    return {"path": params["output_path"], "counts": counts, "right": 2, "wrong": 1, "warnings": []}


def version(number, **facts):
    title = f"Buildings {number}" if number else "Buildings"
    base = {"here": None, "home": None, "share": 0.0, "squares": 0, "minutes": 0.0, "missing": False}
    learnt = {"here": GAIN, "home": HOME, "share": 0.6, "squares": 8 * number, "minutes": 6.0 * number}
    return {
        "number": number, "model_path": f"/models/buildings-{number}.safetensors", "title": title, "sha256": "ab" * 32,
        "predecessor": number - 1, "made_at": "2026-11-30T10:00:00Z", **base, **(learnt if number else {}), **facts,
    }  # fmt: skip


def versions(params):
    """As many as `there` is in the script; one that is used becomes the `current` one. The script keeps no changes."""
    told, use = script("versions"), params["use"]
    missing, current = told.get("missing", []), told.get("current", -1)
    there = [version(number, missing=number in missing) for number in range(told.get("there", 0))]
    if use.isdecimal():
        current = int(use)
    elif use:
        there = there or [version(0)]
        current = len(there)
        there = [*there, version(current, model_path=use)]
    return {"versions": [each for each in there if str(each["number"]) != params["remove"]], "current": current}


def grow(params):
    """A square around the click: 4 m wide, or more with size."""
    x, y, half = params["x"], params["y"], 2 * params["size"] ** 0.5
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    ring = ", ".join(f"{x + half * dx} {y + half * dy}" for dx, dy in corners)
    facts = {"class_value": 2, "class_name": "orchard", "confidence": 0.2, "outline": "squared", "has_image": True}
    return {"wkt": f"POLYGON (({ring}))", "area_m2": 4 * half**2, **facts}


def explain(params):
    os.makedirs(os.path.dirname(params["output_path"]), exist_ok=True)
    shutil.copy(os.environ["FAKE_RUN"] + "/probabilities.tif", params["output_path"])
    facts = {"class_name": "field", "confidence": 0.87, "stage": "decoder.0", "bands": ["What speaks for field"]}
    sentence = f"What {params['method']} shows of the field."
    return {"path": params["output_path"], "sentence": sentence, **facts, "seconds": 1.0, "warnings": []}


def uncertainty(params):
    path = params["output_path"] or params["run_dir"] + "/uncertainty.tif"
    shutil.copy(os.environ["FAKE_RUN"] + "/probabilities.tif", path)
    return {"path": path, "unsure_share": 0.125, "seconds": 2.0, "warnings": []}


ANSWERS = {
    "collect": collect,
    "explain": explain,
    "uncertainty": uncertainty,
    "learn": learn,
    "check_learning": lambda params: CHECK_LEARNING,
    "compare": compare,
    "versions": versions,
    "grow": grow,
    "square": lambda params: {"wkt": params["wkt"], "is_squared": False},
    "project": project,
    "areas": areas,
    "suggest": suggest,
    "mask": mask,
    "chips": chips,
    "inspect": inspect,
    "predict": predict,
    "polygonize": polygonize,
    "check": lambda params: CHECK,
    "check_training": lambda params: CHECK_TRAINING,
    "calibrate": lambda params: {"seconds": 45.0, "memory_mb": 1230.0},
    "models": lambda params: MODELS if not params["model"] else {"models": [MODELS["models"][1]]},
    "info": lambda params: INFO,
}


def work(message):
    method, job = message["method"], message["id"]
    told = script(method)
    for step in range(told.get("steps", 0)):
        if step == told.get("die_at"):
            sys.stderr.write("Segmentation fault, says the fake\n")
            sys.stderr.flush()
            os._exit(9)
        if job in cancelled and not told.get("deaf"):
            data = {"code": "cancelled", "sentence": "Cancelled.", "remedy": "", "details": ""}
            send({"id": job, "error": {"code": -32000, "message": "Cancelled.", "data": data}})
            return
        if step < len(told.get("previews", ())):
            show_preview(told["previews"][step], message["params"]["output_dir"])
        params = {"id": job, "fraction": step / told["steps"], "message": f"Window {step} of {told['steps']}"}
        send({"method": "progress", "params": params})
        time.sleep(told.get("step_seconds", 0.01))
    while "until" in told and not os.path.exists(told["until"]):
        time.sleep(0.01)
    if "error" in told:
        send({"id": job, "error": {"code": -32000, "message": told["error"]["sentence"], "data": told["error"]}})
    else:
        send({"id": job, "result": told.get("result") or ANSWERS[method](message["params"])})


def main():
    jobs = queue.Queue()

    def work_all():
        while True:
            work(jobs.get())

    threading.Thread(target=work_all, daemon=True).start()
    for line in sys.stdin:
        message = json.loads(line)
        log(message)
        if message["method"] == "cancel":
            cancelled.add(message["params"]["id"])
        else:
            jobs.put(message)


main()
