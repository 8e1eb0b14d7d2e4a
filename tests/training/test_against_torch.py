"""Training against PyTorch: the same Transformer written with its modules and functions, the same
weights, and then the same loss, gradients and parameters after many steps, to rounding in float64.

The PyTorch model is written from the paper, not from graphgrad's source: attention is PyTorch's own
`scaled_dot_product_attention` or `MultiheadAttention`, so a shared misunderstanding cannot hide.
"""

import numpy as np
import pytest
from torch_transformer import Oracle, ids_of, masks_of, tensors

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.graph import Graph, initial_state, input, normal, parameter
from graphgrad.models.transformer import Settings, training_graph
from graphgrad.ops import half_squared_error, matmul, tanh
from graphgrad.training.optimisers import SEED, STEP, training_step
from graphgrad.training.settings import TrainingSettings

torch = pytest.importorskip("torch", reason="the oracle of these tests is PyTorch (pip: torch)")

SOURCES, TARGETS = 13, 11
RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""What float64 may differ by: sums are taken in another order."""
STEPS = 20


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    """Its threads spin beside NumPy's and would only slow both down at these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings_of(**values):
    return Settings(
        **{
            "layers": 2,
            "width": 16,
            "heads": 4,
            "inner": 24,
            "dtype": "float64",
            "label_smoothing": 0.1,
            "steps": STEPS,
            "warmup": 5,
            **values,
        }
    )


def batch(seed, rows=3, source=7, target=6):
    """Sentences of different lengths, padded; the first one fills its row."""
    generator = np.random.default_rng(seed)
    feeds = {
        name: np.zeros((rows, size), np.int32)
        for name, size in (("source", source), ("target_input", target), ("target_output", target))
    }
    for row in range(rows):
        length, answer = (int(generator.integers(1, n + 1)) if row else n for n in (source, target))
        feeds["source"][row, :length] = [*generator.integers(4, SOURCES, length - 1), 2]
        words = generator.integers(4, TARGETS, answer - 1)
        feeds["target_input"][row, :answer] = [1, *words]
        feeds["target_output"][row, :answer] = [*words, 2]
    return feeds


def random_state(graph, seed=0):
    """Gains off 1 and biases off 0, so that none can be left out unnoticed."""
    generator = np.random.default_rng(seed)
    state = initial_state(graph, seed)
    for name in graph.parameters:
        state[name] += generator.normal(scale=0.1, size=state[name].shape)
    return state


def assert_same(found, expected, what, absolute=ABSOLUTE):
    np.testing.assert_allclose(found, expected, RELATIVE, absolute, err_msg=what)


ONE_TABLE = {"joint": True, "share_embeddings": True, "tie": True}
VARIANTS = {
    "post": {},
    "pre": {"norm": "pre"},
    "tied": {"tie": True},
    "pre tied gelu": {"norm": "pre", "tie": True, "activation": "gelu"},
    "no smoothing": {"label_smoothing": 0.0},
    "dropout": {"dropout": 0.2},
    "pre dropout": {"dropout": 0.2, "norm": "pre"},
    "attention dropout": {"attention_dropout": 0.2},
    "activation dropout": {"activation_dropout": 0.2},
    "learned positions": {"positions": "learned", "maximum_length": 8},
    "no bias": {"norm": "pre", "bias": False},
    "no output bias": {"output_bias": False, "activation": "silu"},
    "shared embeddings": {"joint": True, "share_embeddings": True},
    "one table": ONE_TABLE,
    "fairseq": {
        **ONE_TABLE,
        "output_bias": False,
        "initial": "xavier",
        "dropout": 0.3,
        "attention_dropout": 0.1,
        "activation_dropout": 0.1,
    },
    "all at once": {
        **ONE_TABLE,
        "norm": "pre",
        "positions": "learned",
        "activation": "gelu_tanh",
        "bias": False,
        "output_bias": False,
        "dropout": 0.1,
        "attention_dropout": 0.2,
        "activation_dropout": 0.3,
    },
}


def sizes_of(settings):
    """The sizes of the vocabularies, equal where there is one."""
    return SOURCES, SOURCES if settings.joint else TARGETS


# ---------------------------------------------------------------- one step


def expected_masks(settings):
    """Two embeddings, 2 + 3 parts, 1 + 2 attentions and 1 + 1 networks a layer."""
    layers = settings.layers
    return (
        bool(settings.dropout) * (2 + 5 * layers)
        + bool(settings.attention_dropout) * 3 * layers
        + bool(settings.activation_dropout) * 2 * layers
    )


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_loss_and_every_gradient(values):
    settings = settings_of(**values)
    graph = derive(training_graph(settings, *sizes_of(settings)), "loss")
    masks = [name for name in graph.names if name.endswith("dropout.mask")]
    deltas = [f"{name}.delta" for name in graph.parameters]
    state, feeds = random_state(graph), batch(1)
    found = compile(graph, [*masks, *deltas])(state, **feeds)
    assert len(masks) == expected_masks(settings)
    parameters = tensors(state, graph.parameters)
    loss = Oracle(settings, parameters, masks_of(found))(**ids_of(feeds))
    loss.backward()
    assert_same(found["loss"], loss.item(), "loss")
    for name, tensor in parameters.items():
        assert_same(found[f"{name}.delta"], tensor.grad.numpy(), name)


def test_the_encoder_is_that_of_torchs_own_modules():
    """`torch.nn.TransformerEncoder` with our weights in its layout gives the same memory."""
    settings = settings_of(layers=2)
    graph = training_graph(settings, SOURCES, TARGETS)
    state, feeds = random_state(graph), batch(2)
    place = "encoder.1.feed_forward_norm.y"
    found = compile(graph, ["encoder.with_positions", place])(state, **feeds)
    layer = torch.nn.TransformerEncoderLayer(
        settings.width, settings.heads, settings.inner, 0.0, batch_first=True, dtype=torch.float64
    )
    stack = torch.nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
    for number, module in enumerate(stack.layers):
        module.load_state_dict(torchs_layout(state, f"encoder.{number}"))
    padding = torch.from_numpy(feeds["source"] == 0)
    expected = (
        stack(torch.from_numpy(found["encoder.with_positions"]), src_key_padding_mask=padding)
        .detach()
        .numpy()
    )
    real = feeds["source"] != 0
    assert_same(found[place][real], expected[real], "memory")


def torchs_layout(state, layer):
    def array(name):
        return torch.from_numpy(state[f"{layer}.{name}"])

    joined = {
        end: [array(f"attention.{part}.{end}") for part in ("query", "key", "value")]
        for end in ("w", "b")
    }
    return {
        "self_attn.in_proj_weight": torch.cat([w.T for w in joined["w"]]),
        "self_attn.in_proj_bias": torch.cat(joined["b"]),
        "self_attn.out_proj.weight": array("attention.output.w").T,
        "self_attn.out_proj.bias": array("attention.output.b"),
        "linear1.weight": array("feed_forward.inner.w").T,
        "linear1.bias": array("feed_forward.inner.b"),
        "linear2.weight": array("feed_forward.outer.w").T,
        "linear2.bias": array("feed_forward.outer.b"),
        "norm1.weight": array("attention_norm.gain"),
        "norm1.bias": array("attention_norm.bias"),
        "norm2.weight": array("feed_forward_norm.gain"),
        "norm2.bias": array("feed_forward_norm.bias"),
    }


# ---------------------------------------------------------------- many steps


def factor_of(settings):
    """The learning rate of step n = 1, 2, … over its peak: warm-up, then linearly to 0."""

    def factor(done):
        number = done + 1
        if number < settings.warmup:
            return number / settings.warmup
        left = settings.steps + 1 - number
        return left / (settings.steps + 1 - settings.warmup)

    return factor


@pytest.mark.parametrize(
    "values",
    [{}, {"norm": "pre", "tie": True}, {"dropout": 0.2}],
    ids=["post", "pre tied", "dropout"],
)
def test_parameters_after_twenty_steps_of_adam(values):
    settings = settings_of(layers=1, learning_rate=1e-2, clip_norm=0.5, **values)
    graph = training_step(training_graph(settings, SOURCES, TARGETS), settings)
    masks = [name for name in graph.names if name.endswith("dropout.mask")]
    compiled = compile(graph, masks)
    state = random_state(graph)
    if masks:
        state[SEED][...] = 3
    parameters = tensors(state, graph.parameters)
    optimiser = torch.optim.Adam(
        parameters.values(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor_of(settings))
    for number in range(STEPS):
        feeds = batch(number)
        found = compiled(state, **feeds)
        loss = Oracle(settings, parameters, masks_of(found))(**ids_of(feeds))
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), settings.clip_norm)
        assert_same(found["loss"], loss.item(), f"loss of step {number}")
        assert_same(found["gradient_norm"], norm.item(), f"norm of step {number}")
        assert_same(found["learning_rate"], schedule.get_last_lr()[0], f"rate of step {number}")
        optimiser.step()
        schedule.step()
    assert int(state[STEP]) == STEPS
    start = random_state(graph)
    for name, tensor in parameters.items():
        # a bias of the keys adds the same number to a whole row of scores: its gradient is 0 but
        # for rounding, and Adam divides that by an epsilon of 1e-8
        assert_same(state[name], tensor.detach().numpy(), name, absolute=1e-9)
        moved = np.abs(state[name] - start[name]).max()
        assert moved < 1e-9 if name.endswith("key.b") else moved > 1e-3, name


# ---------------------------------------------------------------- the other optimisers


def tiny_graph():
    x, truth = (input(name, ("batch", 3), "float64") for name in ("x", "truth"))
    first = parameter("first", (3, 4), normal(1.0), "float64")
    second = parameter("second", (4, 3), normal(1.0), "float64")
    return Graph({"loss": half_squared_error(matmul(tanh(x @ first), second), truth, name="loss")})


def torchs_optimiser(settings, parameters):
    rate = {"lr": settings.learning_rate}
    adam = {**rate, "betas": (settings.beta1, settings.beta2), "eps": settings.epsilon}
    makers = {
        "sgd": lambda p: torch.optim.SGD(p, **rate),
        "momentum": lambda p: torch.optim.SGD(p, **rate, momentum=settings.momentum),
        "adam": lambda p: torch.optim.Adam(p, **adam),
        "adamw": lambda p: torch.optim.AdamW(p, **adam, weight_decay=settings.weight_decay),
    }
    return makers[settings.optimiser](parameters.values())


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam", "adamw"])
def test_each_optimiser_on_a_small_problem(optimiser, clip):
    settings = TrainingSettings(
        optimiser=optimiser,
        learning_rate=0.05,
        schedule="constant",
        warmup=0,
        clip_norm=clip,
        weight_decay=0.1,
        beta2=0.99,
        epsilon=1e-6,
        dtype="float64",
    )
    graph = training_step(tiny_graph(), settings)
    compiled, state = compile(graph), initial_state(graph, 4)
    parameters = tensors(state, graph.parameters)
    theirs = torchs_optimiser(settings, parameters)
    generator = np.random.default_rng(0)
    for _ in range(30):
        x, truth = generator.normal(size=(2, 5, 3))
        found = compiled(state, x=x, truth=truth)
        hidden = torch.tanh(torch.from_numpy(x) @ parameters["first"]) @ parameters["second"]
        loss = 0.5 * ((hidden - torch.from_numpy(truth)) ** 2).sum()
        theirs.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
        assert_same(found["loss"], loss.item(), "loss")
        theirs.step()
    for name, tensor in parameters.items():
        assert_same(state[name], tensor.detach().numpy(), name)
