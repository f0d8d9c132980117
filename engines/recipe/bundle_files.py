"""Files of a bundle: how a manifest names them, and the weights in a network of this recipe."""

import hashlib


def described(folder, name):
    blob = (folder / name).read_bytes()
    return {"path": name, "sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}


def bundle_weights(path):
    """State of a network of this recipe from its ONNX file: the names are the same.

    The first convolution there has its kernel twice, once for each part of the image (parts.py).
    """
    import onnx
    import torch
    stored = onnx.load(path).graph.initializer
    found = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in stored}
    first = found["encoder.0.conv1.weight"]
    found["encoder.0.conv1.weight"] = first[:, : first.shape[1] // 2].contiguous()
    return {name: weights for name, weights in found.items() if not name.startswith("image.")}
