"""The Transformer written in PyTorch from the paper, on graphgrad's weights: the oracle of tests.

Attention is PyTorch's own `scaled_dot_product_attention`, except where its weights are dropped by
given masks: then it is written out.
"""

import math

import pytest

torch = pytest.importorskip("torch", reason="the oracle of these tests is PyTorch (pip: torch)")
F = torch.nn.functional
ACTIVATIONS = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


class Oracle:
    """The Transformer in PyTorch on parameters `p`, by graphgrad's names.

    `masks` are dropout's factors by the name of the place; a place without one has no dropout.
    """

    def __init__(self, settings, p, masks=()):
        self.settings, self.p, self.masks = settings, p, dict(masks)

    def linear(self, x, name):
        return F.linear(x, self.p[f"{name}.w"].T, self.p.get(f"{name}.b"))

    def norm(self, x, name):
        gain, bias = self.p[f"{name}.gain"], self.p.get(f"{name}.bias")
        return F.layer_norm(x, (self.settings.width,), gain, bias, 1e-5)

    def dropout(self, x, name):
        return x * self.masks[name] if name in self.masks else x

    def attention(self, name, queries, memory, allowed):
        def heads(x, part):
            x = self.linear(x, f"{name}.{part}")
            return x.unflatten(-1, (self.settings.heads, -1)).transpose(1, 2)

        query, key, value = heads(queries, "query"), heads(memory, "key"), heads(memory, "value")
        dropped = f"{name}.weights_dropout"
        if dropped in self.masks:
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            weights = torch.softmax(scores.masked_fill(~allowed, -math.inf), -1)
            mixed = (weights * self.masks[dropped]) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, allowed)
        return self.linear(mixed.transpose(1, 2).flatten(2), f"{name}.output")

    def feed_forward(self, name, x):
        hidden = ACTIVATIONS[self.settings.activation](self.linear(x, f"{name}.inner"))
        return self.linear(self.dropout(hidden, f"{name}.inner_dropout"), f"{name}.outer")

    def sublayer(self, x, name, function):
        if self.settings.norm == "pre":
            return x + self.dropout(function(self.norm(x, f"{name}_norm")), f"{name}_dropout")
        return self.norm(x + self.dropout(function(x), f"{name}_dropout"), f"{name}_norm")

    def embedded(self, ids, name):
        width, table = self.settings.width, self.table(name)
        words = F.embedding(ids, table) * math.sqrt(width)
        if self.settings.positions == "learned":
            learned = self.p[f"{name}.positions"][: ids.shape[1]]
            return self.dropout(words + learned, f"{name}.dropout")
        position = torch.arange(ids.shape[1], dtype=torch.float64)[:, None]
        even = torch.arange(0, width, 2, dtype=torch.float64)
        rate = torch.exp(even * (-math.log(10000.0) / width))
        code = torch.zeros(ids.shape[1], width, dtype=torch.float64)
        code[:, 0::2], code[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
        return self.dropout(words + code, f"{name}.dropout")

    def table(self, half):
        return self.p["embedding" if self.settings.share_embeddings else f"{half}.embedding"]

    def __call__(self, source, target_input, target_output):
        settings = self.settings
        in_source = (source != 0)[:, None, None, :]
        x = self.embedded(source, "encoder")
        for number in range(settings.layers):
            x = self.layer(x, f"encoder.{number}", in_source)
        memory = self.norm(x, "encoder.final_norm") if settings.norm == "pre" else x
        length = target_input.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        in_target = (target_input != 0)[:, None, None, :] & causal
        x = self.embedded(target_input, "decoder")
        for number in range(settings.layers):
            x = self.layer(x, f"decoder.{number}", in_target, memory, in_source)
        if settings.norm == "pre":
            x = self.norm(x, "decoder.final_norm")
        if settings.tie:
            logits = F.linear(x, self.table("decoder"), self.p.get("decoder.output.b"))
        else:
            logits = self.linear(x, "decoder.output.dense")
        # the mean is over the targets that are not ignored, in PyTorch as in graphgrad
        smoothing = settings.label_smoothing
        return F.cross_entropy(
            logits.flatten(0, 1), target_output.flatten(), ignore_index=0, label_smoothing=smoothing
        )

    def layer(self, x, name, allowed, memory=None, allowed_memory=None):
        own, cross = f"{name}.attention", f"{name}.cross_attention"
        x = self.sublayer(x, own, lambda h: self.attention(own, h, h, allowed))
        if memory is not None:
            x = self.sublayer(x, cross, lambda h: self.attention(cross, h, memory, allowed_memory))
        network = f"{name}.feed_forward"
        return self.sublayer(x, network, lambda h: self.feed_forward(network, h))


def tensors(state, names):
    return {
        name: torch.tensor(state[name], dtype=torch.float64, requires_grad=True) for name in names
    }


def ids_of(feeds):
    return {name: torch.from_numpy(array).long() for name, array in feeds.items()}


def masks_of(found):
    """Dropout's factors as graphgrad drew them, by place."""
    return {
        name.removesuffix(".mask"): torch.from_numpy(array)
        for name, array in found.items()
        if name.endswith("dropout.mask")
    }
