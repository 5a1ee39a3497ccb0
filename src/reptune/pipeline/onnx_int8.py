"""An ONNX graph with whole numbers of 8 bits: a quarter of the size, and faster matrix products.

Every token's activations get a scale of their own, found while the model runs, and every column of
a weight matrix has one. A token with one large activation then costs the other tokens no
precision, nothing has to be calibrated, and a text's logits do not depend on the texts beside it.
onnxruntime's own `quantize_dynamic` has one scale for the activations of a whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

LARGEST = 127  # a whole number of 8 bits
SMALLEST_SCALE = 1e-12  # where all values are 0
LEAST_ROWS = 1000  # of an embedding; positions and segments are small, and all texts share them


def quantize(path: str | Path) -> None:
    """Make embeddings of words and the constant factors of matrix products 8-bit, in place.

    Args:
        path: An ONNX file in float32, opset 13 to 17.

    Source: Yao et al., *ZeroQuant* (2022), for scales by token.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    weights = {
        each.name: numpy_helper.to_array(each)
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT and len(each.dims) == 2
    }
    nodes: dict[str, onnx.NodeProto] = {}  # by output: what two products share is there once
    added: dict[str, Any] = {}
    for node in graph.node:
        replaced = [node]
        if node.op_type == "MatMul" and node.input[1] in weights:
            replaced = list(_product(node, weights, added))
        elif node.op_type == "Gather" and len(weights.get(node.input[0], ())) >= LEAST_ROWS:
            replaced = list(_lookup(node, weights, added))
        for each in replaced:
            nodes.setdefault(each.output[0], each)
    graph.ClearField("node")
    graph.node.extend(nodes.values())
    used = {name for node in nodes.values() for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in added.items())
    onnx.save(model, path)


def _product(node: Any, weights: Mapping[str, np.ndarray], added: dict[str, Any]) -> Iterator[Any]:
    """Yield nodes that divide each token by its largest value, multiply in int8, and scale back."""
    from onnx.helper import make_node

    x, weight, out = node.input[0], node.input[1], node.output[0]
    if f"{weight}_int8" not in added:
        scales = _column_scales(weights[weight])
        added[f"{weight}_int8"] = np.rint(weights[weight] / scales).astype(np.int8)
        added[f"{weight}_scale"] = scales
        added[f"{weight}_zero"] = np.zeros(len(scales), np.int8)
    added["token_scale"], added["token_zero"] = np.float32(1 / LARGEST), np.uint8(LARGEST + 1)
    added["smallest_scale"] = np.float32(SMALLEST_SCALE)
    yield make_node("Abs", [x], [f"{x}_abs"])
    yield make_node("ReduceMax", [f"{x}_abs"], [f"{x}_most"], axes=[-1], keepdims=1)
    yield make_node("Max", [f"{x}_most", "smallest_scale"], [f"{x}_max"])
    yield make_node("Div", [x, f"{x}_max"], [f"{x}_unit"])
    of_token = ["token_scale", "token_zero"]
    yield make_node("QuantizeLinear", [f"{x}_unit", *of_token], [f"{x}_unit_int8"])
    yield make_node("DequantizeLinear", [f"{x}_unit_int8", *of_token], [f"{out}_x"])
    # onnxruntime makes one product of whole numbers of this, where neither factor is shared.
    of_column = [f"{weight}_{name}" for name in ("int8", "scale", "zero")]
    yield make_node("DequantizeLinear", of_column, [f"{out}_weight"], axis=1)
    yield make_node("MatMul", [f"{out}_x", f"{out}_weight"], [f"{out}_product"], name=node.name)
    yield make_node("Mul", [f"{out}_product", f"{x}_max"], [out])


def _column_scales(weight: np.ndarray) -> np.ndarray:
    """Return the scale of each column of a weight `(inputs, outputs)`.

    Processors without VNNI add the products of two neighbors in 16 bits: 255 (a + b) must not
    exceed 32,767, or the sum is cut off silently. So neighbors' sum stays within 8 bits too.
    """
    size = np.abs(weight)
    pairs = np.pad(size, ((0, len(size) % 2), (0, 0))).reshape(-1, 2, size.shape[1]).sum(axis=1)
    return np.maximum(pairs.max(axis=0) / LARGEST, SMALLEST_SCALE).astype(np.float32)


def _lookup(node: Any, weights: Mapping[str, np.ndarray], added: dict[str, Any]) -> Iterator[Any]:
    """Yield nodes that look a row up in int8, and its scale."""
    from onnx import TensorProto
    from onnx.helper import make_node

    table, rows, out = *node.input, node.output[0]
    scales = np.abs(weights[table]).max(axis=1, keepdims=True) / LARGEST
    scales = np.maximum(scales, SMALLEST_SCALE).astype(np.float32)
    added[f"{table}_rows"] = np.rint(weights[table] / scales).astype(np.int8)
    added[f"{table}_row_scales"] = scales
    yield make_node("Gather", [f"{table}_rows", rows], [f"{out}_int8"])
    yield make_node("Cast", [f"{out}_int8"], [f"{out}_steps"], to=TensorProto.FLOAT)
    yield make_node("Gather", [f"{table}_row_scales", rows], [f"{out}_scale"])
    yield make_node("Mul", [f"{out}_steps", f"{out}_scale"], [out])
