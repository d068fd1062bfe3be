"""An engine for tests: speaks the worker's protocol with the standard library alone, as a script file tells it.

FAKE_WORKER names a JSON file, read again for each request: by method, `steps` and `step_seconds` of progress, `deaf` to
ignore cancel, `die_at` to die in that step, `error` or `result` to answer. Requests are appended to `<file>.log`.
`predict` copies the run folder that FAKE_RUN names into its output folder.
"""

import json
import os
import queue
import shutil
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

cancelled = set()


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def script(method):
    with open(SCRIPT, encoding="utf-8") as file:
        return json.load(file).get(method, {})


def log(message):
    with open(SCRIPT + ".log", "a", encoding="utf-8") as file:
        file.write(json.dumps({**message, "pid": os.getpid(), "environment": dict(os.environ)}) + "\n")


def predict(params):
    folder = params["output_dir"]
    shutil.copytree(os.environ["FAKE_RUN"], folder, dirs_exist_ok=True)
    return {
        "run_id": "0123456789ab", "classes_path": f"{folder}/classes.tif",
        "probabilities_path": f"{folder}/probabilities.tif", "polygons_path": f"{folder}/polygons.gpkg",
        "polygon_count": 2, "polygon_area_m2": 250.0, "device": "Test processor", "seconds": 3.0, "warnings": [],
    }  # fmt: skip


def polygonize(params):
    shutil.copy(os.environ["FAKE_RUN"] + "/polygons.gpkg", params["output_path"])
    return {"polygons_path": params["output_path"], "polygon_count": 2, "polygon_area_m2": 250.0, "seconds": 1.0}


ANSWERS = {
    "predict": predict,
    "polygonize": polygonize,
    "check": lambda params: CHECK,
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
