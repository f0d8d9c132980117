"""The two networks of the pair: plain convolutional U-Nets.

Owns the architecture and nothing else. Only Conv, InstanceNormalization, LeakyRelu,
ConvTranspose and Concat of it reach the exported graph, so that every runtime the daemon
speaks to (the built-in one, OpenVINO, TensorRT) runs them without plug-ins.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import leaky_relu

SEGMENT_CLASSES = ["background", "HCC", "ICC", "Meta", "Hem", "Other", "Cyst", "liver",
                   "hepatic_vessels", "portal_vein", "gallbladder", "spleen", "pancreas", "stomach"]
RECLASSIFY_CLASSES = SEGMENT_CLASSES[:8]

SPACING_MM = (5.0, 1.5, 1.5)
# CT normalisation, nnU-Net's rule: clip, subtract, divide. The figures are rounded foreground
# statistics of the portal venous liver and its lesions (see README.md).
HU_LOWER, HU_UPPER, HU_MEAN, HU_STD = -150.0, 250.0, 100.0, 50.0


@dataclass(frozen=True)
class Plan:
    """What one network is: channels out, patch [z, y, x] in voxels, stages from fine to coarse.

    `hu_mean` is what normalises to 0. The second network sees only the liver, and instance
    normalisation takes away offset and scale; its masked surroundings (0) are the one fixed
    tone. Set at fat they tell water from tumour; set at liver (100 HU) they told nothing.
    """
    classes: tuple
    patch: tuple
    features: tuple
    kernels: tuple
    strides: tuple
    hu_mean: float
    channels: int = 1
    spacing_mm: tuple = SPACING_MM


# Slices are 5 mm and pixels 1.5 mm: the two finest stages do not look across slices.
FLAT, FULL = (1, 3, 3), (3, 3, 3)
PLANS = {
    "segment": Plan(tuple(SEGMENT_CLASSES), (16, 128, 128), (16, 32, 64, 80, 96),
                    (FLAT, FLAT, FULL, FULL, FULL),
                    ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)), 100.0),
    "reclassify": Plan(tuple(RECLASSIFY_CLASSES), (16, 64, 64), (16, 32, 48, 64),
                       (FLAT, FLAT, FULL, FULL),
                       ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2)), -50.0),
}


# Phantoms alone: coarser in plane, since no lesion of theirs is smaller than 5 mm, and smaller.
# Screening reads one native phase, diagnosis all four as channels.
PHANTOM_PHASES = {"phantom-screening": ("nc",), "phantom-diagnosis": ("nc", "ap", "vp", "dp")}
PHANTOM_SPACING_MM = (5.0, 2.0, 2.0)


def phantom_plans(channels):
    """The pair of plans for phantoms of so many phases."""
    shape = (FLAT, FLAT, FULL, FULL), ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    return {
        "segment": Plan(tuple(SEGMENT_CLASSES), (16, 96, 96), (16, 32, 48, 64), *shape, 60.0, channels,
                        PHANTOM_SPACING_MM),
        "reclassify": Plan(tuple(RECLASSIFY_CLASSES), (16, 48, 48), (16, 32, 48, 64), *shape, -50.0, channels,
                           PHANTOM_SPACING_MM),
    }


def plans_of(engine):
    """The plans of an engine of this recipe by its name."""
    return phantom_plans(len(PHANTOM_PHASES[engine])) if engine in PHANTOM_PHASES else PLANS


class Stage(nn.Module):
    """Two convolutions, each followed by instance normalisation and a leaky rectifier."""

    def __init__(self, channels_in, channels_out, kernel, stride):
        super().__init__()
        pad = tuple(k // 2 for k in kernel)
        self.conv1 = nn.Conv3d(channels_in, channels_out, kernel, stride, pad)
        self.norm1 = nn.InstanceNorm3d(channels_out, eps=1e-5, affine=True)
        self.conv2 = nn.Conv3d(channels_out, channels_out, kernel, 1, pad)
        self.norm2 = nn.InstanceNorm3d(channels_out, eps=1e-5, affine=True)

    def forward(self, x):
        x = leaky_relu(self.norm1(self.conv1(x)), 0.01)
        return leaky_relu(self.norm2(self.conv2(x)), 0.01)


class UNet(nn.Module):
    """Encoder, decoder with (upsampled, skip) concatenation, 1x1x1 head.

    `aux` heads on the next two coarser decoder stages serve deep supervision in training only.
    """

    def __init__(self, plan):
        super().__init__()
        features, classes = plan.features, len(plan.classes)
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels = plan.channels
        for width, kernel, stride in zip(features, plan.kernels, plan.strides):
            self.encoder.append(Stage(channels, width, kernel, stride))
            channels = width
        for i in range(len(features) - 1, 0, -1):
            fine, stride = features[i - 1], plan.strides[i]
            self.up.append(nn.ConvTranspose3d(features[i], fine, stride, stride))
            self.decoder.append(Stage(2 * fine, fine, plan.kernels[i - 1], 1))
        self.head = nn.Conv3d(features[0], classes, 1)
        self.aux = nn.ModuleList(nn.Conv3d(features[i], classes, 1) for i in (1, 2))
        self.deep = True

    def forward(self, x):
        """[batch, channel, z, y, x] -> logits; in training a list, finest first."""
        skips, outputs = [], []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, stage in zip(self.up, self.decoder):
            x = stage(torch.cat([up(x), skips.pop()], 1))
            outputs.append(x)
        logits = self.head(outputs[-1])
        if not self.training:
            return logits
        if not self.deep:
            return [logits]
        return [logits, self.aux[0](outputs[-2]), self.aux[1](outputs[-3])]


def normalise(hu, mean=HU_MEAN):
    """CT normalisation of an array or tensor of Hounsfield units."""
    return (hu.clip(HU_LOWER, HU_UPPER) - mean) / HU_STD


def shift_of(plan):
    """What to add to an image normalised with HU_MEAN for a network with a mean of its own."""
    return (HU_MEAN - plan.hu_mean) / HU_STD
