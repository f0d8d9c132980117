"""Rounds activations to few mantissa bits in training, so that rounding in inference does no harm.

Owns the hooks. bfloat16 has 7 stored mantissa bits; with 1 the network meets 64 times the error it
will meet in bfloat16, and the loss drives its borders to where that error changes no label.
"""

import torch
from torch import nn

BFLOAT16_BITS = 7
# The image keeps more: its texture is no rounding error. With 4 bits 150 HU are up to 1.5 HU off.
IMAGE_BITS = 4


class Round(torch.autograd.Function):
    """Nearest value with so many mantissa bits; the gradient passes as if nothing happened."""

    @staticmethod
    def forward(_, tensor, bits):
        drop = BFLOAT16_BITS - bits
        raw = tensor.to(torch.bfloat16).view(torch.int16)
        return ((raw + (1 << drop >> 1)) & -(1 << drop)).view(torch.bfloat16).to(tensor.dtype)

    @staticmethod
    def backward(_, gradient):
        return gradient, None


def apply(model, bits):
    """Rounds what every convolution reads and gives, but for the logits; the image to `IMAGE_BITS` at least."""
    if bits >= BFLOAT16_BITS:
        return
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            continue
        kept = max(bits, IMAGE_BITS) if name == "encoder.0.conv1" else bits
        module.register_forward_pre_hook(lambda _, inputs, kept=kept: (Round.apply(inputs[0], kept),))
        if not name.startswith(("head", "aux")):
            module.register_forward_hook(lambda _, inputs, output: Round.apply(output, bits))
