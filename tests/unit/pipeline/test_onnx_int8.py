"""Whole numbers of 8 bits: near the original, computed as whole numbers, and never too large."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from reptune.pipeline import onnx_int8


@pytest.fixture
def saved(tmp_path):
    """A graph that looks rows of a table up and multiplies them by two matrices, each twice."""
    generator = np.random.default_rng(0)
    made = {
        "table": generator.normal(size=(1000, 33)) * np.exp(generator.normal(size=(1000, 1))),
        "first": generator.normal(size=(33, 33)),
        "second": generator.normal(size=(33, 5)),
    }
    made["first"][:, 0] = 0
    made["table"][7] = 0
    nodes = [
        make_node("Gather", ["table", "ids"], ["x"]),
        make_node("MatMul", ["x", "first"], ["y"]),
        make_node("MatMul", ["y", "first"], ["z"]),
        make_node("MatMul", ["y", "second"], ["one"]),
        make_node("MatMul", ["z", "second"], ["other"]),
        make_node("Add", ["one", "other"], ["logits"]),
    ]
    graph = make_graph(
        nodes, "graph",
        [make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])],
        [make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", 5])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in made.items()],
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8), path)
    return path


IDS = np.arange(50).reshape(5, 10)


def logits(path, ids=IDS, **options):
    return onnxruntime.InferenceSession(str(path), **options).run(None, {"ids": ids})[0]


def test_it_is_near_the_original_and_a_quarter_of_its_size(saved):
    before, size = logits(saved), saved.stat().st_size
    onnx_int8.quantize(saved)
    onnx.checker.check_model(str(saved))
    after = logits(saved)
    error = np.abs(after - before).max(axis=-1) / np.abs(before).max(axis=-1).clip(1e-9)
    assert 0 < np.median(error) < 0.02
    assert np.isfinite(after).all()
    assert (after[0, 7] == 0).all()
    assert not any(a.data_type == TensorProto.FLOAT and len(a.dims) == 2 and a.dims[1] > 1
                   for a in onnx.load(saved).graph.initializer)  # fmt: skip
    assert saved.stat().st_size < size


def test_a_token_does_not_depend_on_those_beside_it(saved):
    onnx_int8.quantize(saved)
    one_by_one = [[logits(saved, IDS[row : row + 1, [column]])[0, 0] for column in range(10)]
                  for row in range(5)]  # fmt: skip
    np.testing.assert_allclose(logits(saved), one_by_one, rtol=1e-5, atol=1e-5)


def test_onnxruntime_multiplies_whole_numbers(saved, tmp_path):
    onnx_int8.quantize(saved)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    logits(saved, sess_options=options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 4
    assert "MatMul" not in kinds


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_two_neighbors_never_exceed_16_bits(rows, columns, seed):
    weight = np.random.default_rng(seed).standard_t(2, size=(rows, columns))
    steps = np.abs(np.rint(weight / onnx_int8._column_scales(weight)))
    pairs = np.pad(steps, ((0, rows % 2), (0, 0))).reshape(-1, 2, columns).sum(axis=1)
    assert 255 * pairs.max() <= 32767
    assert steps.max() >= 63
