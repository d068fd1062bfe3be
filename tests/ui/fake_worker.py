"""An engine for tests: speaks the worker's protocol with the standard library alone, as a script file tells it.

FAKE_WORKER names a JSON file, read again for each request: by method, `steps` and `step_seconds` of progress, `deaf` to
ignore cancel, `die_at` to die in that step, `error` or `result` to answer. Requests are appended to `<file>.log`.
`predict` copies the run folder that FAKE_RUN names into its output folder, after the files in `previews`, one in each
step, as its preview; `project`, `areas` and `mask` copy one file of that folder. With a request are logged the
attributes in the GeoPackages that it names, by layer, as `seen`.
"""

import json
import os
import queue
import shutil
import sqlite3
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


def mask(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/classes.tif", params["output_path"])
    counts = [{"value": 1, "name": "field", "pixels": 40, "objects": 2}]
    return {"mask_path": params["output_path"], "counts": counts, "unknown_px": 7, "seconds": 1.0, "warnings": []}


def chips(params):
    os.makedirs(params["output_dir"])
    counts, left_out = {"train": 7, "validation": 2, "test": 1}, {"empty": 3}
    path = params["output_dir"] + "/manifest.json"
    return {"manifest_path": path, "counts": counts, "left_out": left_out, "seconds": 1.0, "warnings": []}


ANSWERS = {
    "project": project,
    "areas": areas,
    "mask": mask,
    "chips": chips,
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
