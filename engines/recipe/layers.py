"""What layers of a network meet while it runs."""

import torch


def seen(network, layers, image, look):
    """Runs `image` `[channel, z, y, x]` once; `look(input, output)` of every layer that took part, by layer."""
    found = {}
    hooks = [layer.register_forward_hook(lambda layer, given, made: found.update({layer: look(given[0], made)}))
             for layer in layers]
    with torch.no_grad():
        network(torch.as_tensor(image)[None])
    for hook in hooks:
        hook.remove()
    return found
