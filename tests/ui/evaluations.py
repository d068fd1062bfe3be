"""What the engine answers to an evaluation, with the layers that it leaves."""

from osgeo import ogr, osr
from scene import CRS, SIZE, square, write_raster


def pixel_scores(name, iou):
    return {"name": name, "iou": iou, "f1": 0.71, "precision": 0.72, "recall": 0.73, "pixels": 900}


def answer(folder):
    """What the engine answers; the layers' files are really there."""
    write_raster(folder / "errors.tif", [bytes(i % 5 for i in range(SIZE * SIZE))])
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(folder / "objects.gpkg"))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    layer = dataset.CreateLayer("objects", reference, ogr.wkbMultiPolygon)
    for name in ("status", "class"):
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTString))
    for name in ("iou", "confidence", "area_m2"):
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTReal))
    for x, status in ((0, "matched"), (10, "missed"), (20, "false")):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature["status"], feature["class"], feature["iou"], feature["area_m2"] = status, "field", 0.4, 25.0
        feature.SetGeometry(ogr.ForceToMultiPolygon(ogr.CreateGeometryFromWkt(square(x))))
        layer.CreateFeature(feature)
    return {
        "report_path": str(folder / "report.html"), "json_path": str(folder / "evaluation.json"),
        "classes": ["background", "field", "orchard"], "confusion": [[9, 1, 0], [2, 8, 0], [0, 0, 4]],
        "accuracy": 0.87, "kappa": 0.6,
        "pixels": [pixel_scores("field", 0.512), pixel_scores("orchard", 0.6), pixel_scores("all", 0.55)],
        "places": [pixel_scores("area 2", 0.55)],
        "objects": [{
            "name": "field", "precision": 0.8, "recall": 0.75, "f1": 0.774, "average_precision": 0.7,
            "matched": 12, "missed": 4, "false": 3,
        }],
        "areas": [{"name": "field", "mapped_m2": 5000.0, "estimated_m2": 5600.0, "margin_m2": 320.0}],
        "threshold": 0.5, "best_threshold": 0.35, "best_iou": 0.581, "calibration_error": 0.04,
        "errors_path": str(folder / "errors.tif"), "objects_path": str(folder / "objects.gpkg"), "seconds": 12.0,
        "warnings": ["2 labels were mended."],
    }  # fmt: skip
