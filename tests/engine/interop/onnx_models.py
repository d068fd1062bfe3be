"""Small ONNX models, made as others make them for Deepness."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SEGMENTOR = {"model_type": "Segmentor", "class_names": [{"0": "background", "1": "roof"}], "resolution": 30}


def model(
    *,
    bands: int = 3,
    side: Any = 64,
    batch: Any = "N",
    outputs: Sequence[int] = (1,),
    activation: str = "Sigmoid",
    flat: bool = False,
    kernel: int = 1,
    padded: bool = True,
    opset: int = 12,
    metadata: dict[str, Any] | None = None,
) -> Any:
    """Convolutions of random weights, one for each output.

    Args:
        outputs: channels of each.
        flat: leave out the axis of channels.
        padded: else the output is smaller than the image.
    """
    random = np.random.default_rng(5)
    nodes, heads, constants = [], [], []
    pad = kernel // 2 if padded else 0
    size = side if padded or not isinstance(side, int) else side - kernel + 1
    for number, channels in enumerate(outputs):
        weight = random.normal(0, 3 / kernel, (channels, bands, kernel, kernel)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("Conv", ["input", f"w{number}"], [f"c{number}"], pads=[pad] * 4))
        last = f"a{number}" if flat else f"output{number}"
        attributes = {"axis": 1} if activation == "Softmax" and opset >= 13 else {}
        nodes.append(helper.make_node(activation, [f"c{number}"], [last], **attributes))
        if flat:
            nodes.append(helper.make_node("Squeeze", [last], [f"output{number}"], axes=[1]))  # until opset 12
        shape = [batch, size, size] if flat else [batch, channels, size, size]
        heads.append(helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, bands, side, side])
    graph = helper.make_graph(nodes, "g", [image], heads, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    helper.set_model_props(made, {name: json.dumps(value) for name, value in (metadata or {}).items()})
    return made


def saved(path: Path, made: Any) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


class DeepnessReader:
    """The rules by which Deepness 0.6.5 reads a segmentation model and prepares its image."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (self.input,) = self.session.get_inputs()
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        assert str(json.loads(self.metadata["model_type"])).capitalize() == "Segmentor"
        assert self.input.shape[-1] == self.input.shape[-2]
        self.tile_size = int(json.loads(self.metadata["tile_size"]))
        self.resolution_cm = float(json.loads(self.metadata["resolution"]))
        self.threshold = float(json.loads(self.metadata["seg_thresh"]))
        self.overlap_percent = int(json.loads(self.metadata["tiles_overlap"]))
        self.mean, self.std = (json.loads(self.metadata[f"standardization_{name}"]) for name in ("mean", "std"))

    @property
    def names(self) -> list[str]:
        """Class names of the first output, which must be numbered without gaps."""
        text = self.metadata["class_names"]
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = ast.literal_eval(text)
        names = value[0] if isinstance(value, list) else value
        found = [name for _, name in sorted((int(key), name) for key, name in names.items())]
        assert sorted(int(key) for key in names) == list(range(len(found)))
        is_sigmoid = self.session.get_outputs()[0].shape[-3] == 1
        return ["background", *found] if len(found) == 1 and is_sigmoid else found

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Of images `(N, H, W, bands)` with values from 0 to 255."""
        count = self.input.shape[-3]
        images = np.float32(pixels[..., :count] * 1.0 / 255.0)
        images = ((images - np.float32(self.mean)) / np.float32(self.std)).transpose(0, 3, 1, 2)
        return np.asarray(self.session.run(None, {self.input.name: images})[0])


__all__ = ["SEGMENTOR", "DeepnessReader", "model", "onnx", "saved"]
