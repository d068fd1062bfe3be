"""A label project with squares, above which the run of `run_folder` found a field and an orchard."""

from osgeo import ogr
from scene import LEFT, TOP, write_project

FIELD, TWO_PARTS_OF_AN_ORCHARD, NOTHING = (8, 8), ((18, 4), (23, 7)), (0, 6)
"""Places for squares: metres from the left edge, and side."""
WHY = "Unsure of 12% of the pixels"


def outline(x, side):
    left, bottom = LEFT + x, TOP - 12
    corners = ((0, 0), (side, 0), (side, side), (0, side), (0, 0))
    return f"MULTIPOLYGON ((({', '.join(f'{left + dx} {bottom + dy}' for dx, dy in corners)})))"


def write_squares(path, *squares, labels=()):
    """A label project whose areas are squares, (x, side, split), all to do; its labels lack the attributes of today."""
    write_project(path, labels=labels)
    dataset = ogr.Open(str(path), 1)
    layer = dataset.GetLayerByName("areas")
    for name, kind in (
        ("state", ogr.OFTString), ("reason", ogr.OFTString), ("rank", ogr.OFTInteger), ("seconds", ogr.OFTReal),
    ):  # fmt: skip
        layer.CreateField(ogr.FieldDefn(name, kind))
    for rank, (x, side, split) in enumerate(squares, 1):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkt(outline(x, side)))
        feature["name"], feature["split"], feature["state"] = f"square {rank}", split, "todo"
        feature["reason"], feature["rank"] = WHY, rank
        layer.CreateFeature(feature)
    return str(path)


def rows(path, layer, *fields):
    """Attributes of a layer's features as the file has them."""
    dataset = ogr.Open(str(path))
    return [tuple(feature[name] for name in fields) for feature in dataset.GetLayerByName(layer)]
