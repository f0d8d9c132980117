"""Networks that no self-test may let pass: one overflows, one gives the same value everywhere.

Run: python make_broken.py  (needs numpy, onnx)
Writes nan.onnx and constant.onnx, in shape like tiny.onnx: [1,4,8,16,16] to [1,4,8,16,16].
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = [1, 4, 8, 16, 16]

for name, weight, bias in (("nan", 3e38, 3e38), ("constant", 0, 0.25)):
    weights = [numpy_helper.from_array(np.full((4, 4, 1, 1, 1), weight, np.float32), "weight"),
               numpy_helper.from_array(np.full(4, bias, np.float32), "bias")]
    node = helper.make_node("Conv", ["patch", "weight", "bias"], ["logits"], kernel_shape=[1, 1, 1])
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, SHAPE) for end in ("patch", "logits")]
    graph = helper.make_graph([node], name, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, f"{name}.onnx")
