"""The same network with fewer multiplications: Winograd's minimal filtering across slices.

Four neighbouring outputs of a filter of three taps need 6 products instead of 12 (S. Winograd, Arithmetic Complexity
of Computations, 1980; A. Lavin and S. Gray, arXiv 1509.09308, F(4, 3)): with the points 0, 1, -1, 2, -2 and infinity

    y = OUTPUT [ (FILTER g) * (INPUT d) ]        d: six slices, g: three taps, y: four slices

Here d are slices, g planes of a kernel, and every product a convolution within slices. Three dimensional convolutions
so take half the multiplications; the sums around them cost memory traffic, which pays from some channels on. Nothing
is left out: what changes is rounding, about four times that of the plain sum. In bf16 that is too much.
"""

import torch
from torch import nn

from layers import seen

# Of channels in and out: from here on it is faster by OpenVINO; below, sums cost what products save.
LEAST_CHANNELS = 64

FILTER = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
          (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))
INPUT = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
         (0, 4, 0, -5, 0, 1))
OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
# The one product that every output holds once: the bias goes there.
EVERYWHERE = 1
STEP = len(OUTPUT)


def combined(row, parts):
    """Sum of `parts` by the numbers of `row`, zeros left out."""
    terms = [part if number == 1 else number * part for number, part in zip(row, parts) if number]
    return sum(terms[1:], terms[0])


class AcrossSlices(nn.Module):
    """A convolution of `fits` for inputs `[1, in, z, y, x]`, z a multiple of 4."""

    def __init__(self, conv):
        super().__init__()
        planes = conv.weight.detach().double().unbind(2)
        self.products = nn.ModuleList()
        for i, row in enumerate(FILTER):
            product = nn.Conv3d(conv.in_channels, conv.out_channels, (1, *conv.kernel_size[1:]), stride=conv.stride,
                                padding=(0, *conv.padding[1:]), bias=i == EVERYWHERE and conv.bias is not None)
            product.weight.data = combined(row, planes).float().unsqueeze(2)
            if product.bias is not None:
                product.bias.data = conv.bias.detach().clone()
            self.products.append(product)

    def forward(self, x):
        every = [x[:, :, first::STEP] for first in range(STEP)]
        nothing = torch.zeros_like(x[:, :, :1])
        before = torch.cat([nothing, every[-1][:, :, :-1]], 2)
        after = torch.cat([every[0][:, :, 1:], nothing], 2)
        taps = [before, *every, after]
        products = [product(combined(row, taps)) for row, product in zip(INPUT, self.products)]
        sums = [combined(row, products) for row in OUTPUT]
        slices = [part[:, :, t : t + 1] for t in range(sums[0].shape[2]) for part in sums]
        return torch.cat(slices, 2)


def fits(conv, slices, least):
    """Whether a convolution gains: three taps across slices, one slice at a time, `least` channels in and out."""
    return (conv.kernel_size[0] == 3 and conv.stride[0] == 1 and conv.padding[0] == 1 and conv.dilation == (1, 1, 1)
            and conv.groups == 1 and slices % STEP == 0 and min(conv.in_channels, conv.out_channels) >= least)


def across_slices(network, channels, patch, least):
    """Replaces every convolution that `fits` in place, for patches of one shape; gives how many."""
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv3d)]
    depths = seen(network, convs, torch.zeros(channels, *patch), lambda given, _: given.shape[2])
    made = {conv: AcrossSlices(conv) for conv, slices in depths.items() if fits(conv, slices, least)}
    for parent in list(network.modules()):
        # A block may hold its convolution under two names, so children are looked up one by one.
        for name, child in list(parent._modules.items()):
            if child in made:
                setattr(parent, name, made[child])
    return len(made)
