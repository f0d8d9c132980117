"""The same network with less work: every upsampling merged with the convolution after it.

nnU-Net's decoder upsamples by a transposed convolution V (kernel = stride), joins the skip connection, and
convolves (W). Without a nonlinearity between them, W of the joined channels is the sum of two convolutions, and
W after V is one transposed convolution T of kernel k + stride - 1:

    W * [V x + v, s] + w  =  T x  +  W_skip * s  +  (W_up * v + w)

The last term is a constant; it varies only at the border, where W meets its zero padding. Nothing is left out:
what changes is rounding. For strides of 2 the merged kernel has a tenth fewer multiplications over the whole
network, the joined array is never written, and upsampled ones neither.
"""

import torch
from torch import nn


def merged_kernel(up, conv):
    """T `[in, out, *k]` in f64 from V `[in, up, *stride]` and the first `up` channels of W `[out, up + skip, *k]`.

    y[o] = sum_d W[d] u[o + d - c], u[stride i + q] = V[q] x[i]: tap t = q - d + k - 1 of T, per axis.
    """
    v = up.weight.detach().double()
    w = conv.weight.detach().double()[:, : v.shape[1]]
    size = [k + p - 1 for k, p in zip(w.shape[2:], v.shape[2:])]
    t = torch.zeros(v.shape[0], w.shape[0], *size, dtype=torch.double)
    for d in torch.cartesian_prod(*(torch.arange(k) for k in w.shape[2:])).tolist():
        at = [slice(k - 1 - i, k - 1 - i + p) for i, k, p in zip(d, w.shape[2:], v.shape[2:])]
        t[(slice(None), slice(None), *at)] += torch.einsum("iuzyx,ou->iozyx", v, w[(slice(None), slice(None), *d)])
    return t


def constant(up, conv, shape):
    """What the biases add, `[1, out, z, y, x]`; one voxel long along axes that the kernel does not reach across."""
    v, w = up.weight.detach(), conv.weight.detach().double()
    flat = torch.zeros(v.shape[1]) if up.bias is None else up.bias.detach()
    plane = flat.double().view(1, -1, 1, 1, 1).expand(1, -1, *shape)
    bias = None if conv.bias is None else conv.bias.detach().double()
    added = nn.functional.conv3d(plane, w[:, : v.shape[1]], bias, padding=conv.padding)
    for axis, k in enumerate(conv.kernel_size):
        if k == 1:
            added = added.narrow(2 + axis, 0, 1)
    return added.float().contiguous()


class MergedUpsampling(nn.Module):
    """A transposed convolution, the joining and the convolution after them, for one input shape."""

    def __init__(self, up, conv, shape):
        super().__init__()
        out, kept = conv.out_channels, up.out_channels
        kernel = merged_kernel(up, conv)
        self.up = nn.ConvTranspose3d(up.in_channels, out, kernel.shape[2:], stride=up.stride, padding=conv.padding,
                                     bias=False)
        self.up.weight.data = kernel.float()
        self.skip = nn.Conv3d(conv.in_channels - kept, out, conv.kernel_size, padding=conv.padding, bias=False)
        self.skip.weight.data = conv.weight.detach()[:, kept:].clone()
        self.register_buffer("constant", constant(up, conv, shape))

    def forward(self, x, skip):
        # The constant first: OpenVINO adds the rest while it convolves.
        return self.skip(skip) + (self.up(x) + self.constant)


class Merged(nn.Module):
    """A network of dynamic_network_architectures (`encoder`, `decoder`) for patches of one shape."""

    def __init__(self, network, patch):
        super().__init__()
        self.encoder, self.decoder = network.encoder, network.decoder
        with torch.no_grad():
            shapes = [skip.shape[2:] for skip in self.encoder(torch.zeros(1, channels(network), *patch))]
        convs = [stage.convs[0].conv for stage in self.decoder.stages]
        places = zip(self.decoder.transpconvs, convs, reversed(shapes[:-1]))
        self.merged = nn.ModuleList(MergedUpsampling(up, conv, shape) for up, conv, shape in places)

    def forward(self, image):
        skips = self.encoder(image)
        x = skips[-1]
        for merged, stage, skip in zip(self.merged, self.decoder.stages, reversed(skips[:-1])):
            first = stage.convs[0]
            x = merged(x, skip)
            # What follows the convolution in its block: norm, then nonlinearity; no dropout at inference.
            for layer in list(first.all_modules)[1:]:
                x = layer(x)
            for block in stage.convs[1:]:
                x = block(x)
        return self.decoder.seg_layers[-1](x)


def channels(network):
    """Of the image: what the network's first convolution takes."""
    return next(layer for layer in network.encoder.modules() if isinstance(layer, nn.Conv3d)).in_channels
