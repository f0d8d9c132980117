"""A tiny U-Net of the five operators that exported nnU-Net graphs hold, and what torch says of it.

Run: python make_onnx.py  (needs numpy, torch, onnx)
Writes tiny.onnx (input [1,4,8,16,16], output [1,4,8,16,16]), tiny_input.f32 [4,8,16,16] and
tiny_expected.f32 [4,4,8,8], the logits at every second voxel.
"""
import torch
from torch import nn

torch.manual_seed(7)


def block(a, b, kernel, stride=1):
    pad = [(k - 1) // 2 for k in kernel]
    return nn.Sequential(nn.Conv3d(a, b, kernel, stride, pad), nn.InstanceNorm3d(b, eps=1e-5, affine=True),
                         nn.LeakyReLU(0.01))


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.top = block(4, 4, (1, 3, 3))
        self.down = block(4, 8, (3, 3, 3), (1, 2, 2))
        self.deep = block(8, 12, (3, 3, 3), (2, 2, 2))
        self.up1 = nn.ConvTranspose3d(12, 8, (2, 2, 2), (2, 2, 2))
        self.join1 = block(16, 8, (3, 3, 3))
        self.up2 = nn.ConvTranspose3d(8, 4, (1, 2, 2), (1, 2, 2))
        self.join2 = block(8, 4, (3, 3, 3))
        self.head = nn.Conv3d(4, 4, 1)

    def forward(self, x):
        a = self.top(x)
        b = self.down(a)
        c = self.deep(b)
        b = self.join1(torch.cat([self.up1(c), b], 1))
        return self.head(self.join2(torch.cat([self.up2(b), a], 1)))


net = Tiny().eval()
with torch.no_grad():
    for module in net.modules():
        if isinstance(module, nn.InstanceNorm3d):
            module.weight.uniform_(0.5, 2)
            module.bias.uniform_(-1, 1)
    x = torch.randn(1, 4, 8, 16, 16) * 1.5 + torch.tensor([0.7, -2.0, 0.0, 5.0]).view(1, 4, 1, 1, 1)
    y = net(x)
torch.onnx.export(net, x, "tiny.onnx", opset_version=17, dynamo=False, input_names=["patch"],
                  output_names=["logits"])
x[0].numpy().astype("<f4").tofile("tiny_input.f32")
y[0, :, ::2, ::2, ::2].numpy().astype("<f4").tofile("tiny_expected.f32")
