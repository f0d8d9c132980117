"""Weights of an nnU-Net v2 fold to a static ONNX graph and its golden logits.

Owns checkpoints and networks. The network is built by dynamic_network_architectures, as
nnU-Net builds it, without deep supervision; nnU-Net itself is not needed.
"""

import pydoc

import numpy as np
import onnx
import torch

import parts
from nnunet_plans import Refused

OPSET = 17
# Numbers that trainers log beside the weights.
HARMLESS = [np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool"))]
GOLDEN_BYTES = 1 << 20  # of expected logits per fold
ALLOWED = {"Conv", "ConvTranspose", "InstanceNormalization", "LeakyRelu", "Relu", "Concat", "Add", "AveragePool",
           "Pad", "Constant", "Identity", "Mul", "Slice", "Floor", "Sub"}


def read_checkpoint(path, trust):
    """The checkpoint as a dictionary. Without `trust` nothing in the file is run."""
    if not path.is_file():
        raise Refused(f"{path}: missing; choose folds with --folds and the file with --checkpoint")
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    scalar = getattr(np, "_core", None) or np.core
    safe = [*HARMLESS, scalar.multiarray.scalar, scalar.multiarray._reconstruct]
    try:
        with torch.serialization.safe_globals(safe):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises its unpickling errors under several names
        reason = str(error).splitlines()[0]
        raise Refused(f"{path}: holds more than weights and plain values ({reason}); "
                      "if you trust who made it, add --trust-checkpoint, which runs what is in the file")


def build(kind, arguments, channels, heads):
    """The network, without weights, in evaluation mode."""
    from dynamic_network_architectures.architectures import unet
    arguments = dict(arguments)
    for key in ("conv_op", "norm_op", "dropout_op", "nonlin"):
        if isinstance(arguments.get(key), str):
            name = arguments[key]
            arguments[key] = pydoc.locate(name)
            if not (isinstance(arguments[key], type) and name.startswith("torch.nn.")):
                raise Refused(f"plans.json: {key} `{name}` is not a layer of torch")
    return getattr(unet, kind)(input_channels=channels, num_classes=heads, deep_supervision=False, **arguments).eval()


def load(network, weights, path):
    """Puts a fold's weights in; `torch.compile` and data-parallel training leave prefixes."""
    prefixes = ("_orig_mod.", "module.")
    plain = {}
    for name, value in weights.items():
        while name.startswith(prefixes):
            name = name.split(".", 1)[1]
        plain[name] = value
    try:
        network.load_state_dict(plain)
    except RuntimeError as error:
        reason = str(error).splitlines()
        raise Refused(f"{path}: its weights do not fit the network of plans.json ({' '.join(reason)[:300]}); "
                      "a trainer with a network of its own cannot be imported")


class Unrounded(torch.nn.Module):
    """A network whose image enters and whose logits leave it unrounded also where it computes in bf16.

    The image comes in two parts (parts.py), unless more than a convolution reads it. The last step is the identity:
    OpenVINO takes it into the convolution before it, and keeps what comes after the last convolution in f32.
    """

    def __init__(self, network, channels, patch):
        super().__init__()
        self.network, first = network, parts.first(network, channels, patch)
        self.split = first is not None
        if self.split:
            parts.taken_by(first)

    def forward(self, image):
        given = parts.of(image) if self.split else image
        return torch.nn.functional.leaky_relu(self.network(given), 1.0)


def export(network, channels, patch, path):
    """Writes the graph at its one shape, weights inside, and returns it after a check. Uses up the network."""
    example = torch.zeros(1, channels, *patch)
    wrapped = Unrounded(network, channels, patch).eval()
    with torch.no_grad():
        torch.onnx.export(wrapped, (example,), str(path), opset_version=OPSET, dynamo=False,
                          input_names=["image"], output_names=["logits"])
    model = onnx.shape_inference.infer_shapes(unshared(onnx.load(path)), strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    strange = {node.op_type for node in model.graph.node} - ALLOWED
    if strange:
        raise Refused(f"{path}: the graph holds {', '.join(sorted(strange))}, which was never tried in hepalert")
    return model


def unshared(model):
    """Gives every layer weights of its own.

    torch writes equal ones once, with an Identity for every other layer, and OpenVINO does not fuse a layer into the
    one before it through an Identity.
    """
    stored = {weights.name: weights for weights in model.graph.initializer}
    copies = [node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in stored]
    for node in copies:
        own = onnx.TensorProto()
        own.CopyFrom(stored[node.input[0]])
        own.name = node.output[0]
        model.graph.initializer.append(own)
        model.graph.node.remove(node)
    return model


def golden_input(channels, patch):
    """A made-up patch after normalisation: a soft ball, waves and an edge, none alike."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in patch), indexing="ij")
    made = []
    for channel in range(channels):
        ball = 2.0 / (1 + np.exp(8 * (x**2 + (y - 0.1 * channel) ** 2 + z**2 - 0.4)))
        waves = 0.3 * np.sin(9 * x + 5 * y + 3 * z + channel) + 0.1 * np.sin(31 * x - 17 * y)
        made.append(ball + waves - 1.5 * (y > 0.8))
    return np.stack(made).astype("<f4")


def golden_from(path, channels, patch):
    """The middle of a preprocessed image `[channel, z, y, x]`, .npy or the `data` of nnU-Net's .npz."""
    try:
        image = np.load(path, allow_pickle=False)
        image = image["data"] if isinstance(image, np.lib.npyio.NpzFile) else image
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise Refused(f"{path}: not an array ({error}); give a preprocessed image as .npy, or nnU-Net's own .npz")
    if image.ndim != 4 or image.shape[0] != channels or any(n < p for n, p in zip(image.shape[1:], patch)):
        raise Refused(f"{path}: shape {image.shape}; the golden patch is cut out of [{channels}, z, y, x], "
                      f"at least {list(patch)} voxels: give another image, or leave --golden away")
    middle = tuple(slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(image.shape[1:], patch))
    cut = np.ascontiguousarray(image[(slice(None), *middle)], "<f4")
    if not np.isfinite(cut).all():
        raise Refused(f"{path}: its middle holds NaN or infinity; give another image")
    return cut


def golden_stride(heads, patch):
    """Every n-th voxel along the finer axes, until the logits fit GOLDEN_BYTES."""
    stride = [1, 1, 1]
    while 4 * heads * np.prod([-(-n // s) for n, s in zip(patch, stride)]) > GOLDEN_BYTES:
        left = [n / s for n, s in zip(patch, stride)]
        stride[int(np.argmax(left))] *= 2
    return stride


def compare_with_onnxruntime(path, patch, expected):
    """Refuses a graph that does not give torch's logits."""
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": patch[None]})[0]
    worst = float(np.abs(found - expected).max())
    agree = float((found.argmax(1) == expected.argmax(1)).mean())
    if worst > 1e-3 * max(1.0, float(np.abs(expected).max())) or agree < 0.9999:
        raise Refused(f"{path}: onnxruntime differs from torch by {worst} (best class equal on {agree}): not written")
    return worst, agree
