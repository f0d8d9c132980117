"""The same network with smaller numbers before its normalisations.

Instance normalisation takes the mean of a channel away, so whatever a convolution before it adds to all voxels is
lost again. Its bias is free: chosen so that channels lie around zero, what is rounded to bf16 or f16 between the two
is small. Nothing else changes; in f32 a last bit does.
"""

import torch
from torch import nn


def pairs(network):
    """Convolutions and the names of the blocks that hold them, each followed by an instance normalisation.

    By name: nnU-Net's blocks have `conv` and `norm`, the recipe's stages `conv1`, `norm1`, `conv2`, `norm2`.
    """
    for block in network.modules():
        for number in ("", "1", "2"):
            conv, norm = getattr(block, f"conv{number}", None), getattr(block, f"norm{number}", None)
            if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.InstanceNorm3d):
                yield conv


def centre(network, image):
    """Sets the biases in place, so that channels of `image` `[channel, z, y, x]` have mean 0; gives how many layers."""
    found = {}
    hooks = [conv.register_forward_hook(lambda conv, given, made: found.update({conv: made.double().mean((0, 2, 3, 4))}))
             for conv in set(pairs(network))]
    with torch.no_grad():
        network(torch.as_tensor(image)[None])
        for hook in hooks:
            hook.remove()
        for conv, mean in found.items():
            bias = 0 if conv.bias is None else conv.bias.double()
            conv.bias = nn.Parameter((bias - mean).float())
    return len(found)
