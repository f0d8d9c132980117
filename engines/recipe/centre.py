"""The same network with smaller numbers before its normalisations.

Instance normalisation takes the mean of a channel away, so whatever a convolution before it adds to all voxels is
lost again. Its bias is free: chosen so that channels lie around zero, what is rounded to bf16 or f16 between the two
is small. Nothing else changes; in f32 a last bit does.
"""

from torch import nn

from layers import seen


def pairs(network):
    """Convolutions that an instance normalisation follows in their block.

    By name: nnU-Net's blocks have `conv` and `norm`, the recipe's stages `conv1`, `norm1`, `conv2`, `norm2`.
    """
    for block in network.modules():
        for number in ("", "1", "2"):
            conv, norm = getattr(block, f"conv{number}", None), getattr(block, f"norm{number}", None)
            if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.InstanceNorm3d):
                yield conv


def centre(network, image):
    """Sets the biases in place, so that channels of `image` `[channel, z, y, x]` have mean 0; gives how many layers."""
    means = seen(network, pairs(network), image, lambda _, made: made.double().mean((0, 2, 3, 4)))
    for conv, mean in means.items():
        bias = 0 if conv.bias is None else conv.bias.detach().double()
        conv.bias = nn.Parameter((bias - mean).float())
    return len(means)
