"""What PyTorch's modules print, hold and say, for test/nn*.test.ts and test/oracle/nn.test.ts.

record       writes ../fixtures/nn.json
files DIR    writes whole models and state dicts into DIR, and their texts as DIR/texts.json
check DIR    reads the files that the JavaScript tests left in DIR, and prints what they hold as JSON lines

A module is described as [class, args, kwargs]. JSON has one kind of number and of list, so that {"$float": 1},
{"$tuple": [...]}, {"$module": [...]}, {"$tensor": shape} and {"$dict": [[key, value], ...]} say what is meant.
"""

import json
import os
import sys
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")

FIXTURE = os.path.join(os.path.dirname(__file__), "..", "fixtures", "nn.json")


def F(value):
    return {"$float": value}


def T(*items):
    return {"$tuple": list(items)}


def M(cls, *args, **kwargs):
    return {"$module": [cls, list(args), kwargs]}


def C(cls, *args, **kwargs):
    return [cls, list(args), kwargs]


def D(*pairs):
    return {"$dict": [list(pair) for pair in pairs]}


CASES = [
    C("Identity"),
    C("Linear", 3, 2), C("Linear", 4, 1, bias=False), C("Linear", 2, 3, dtype="float16"), C("Linear", 2, 2, device="meta"),
    C("Bilinear", 2, 3, 4), C("Bilinear", 2, 3, 4, bias=False), C("LazyLinear", 5), C("LazyLinear", 5, bias=False),
    C("Conv1d", 2, 4, 3), C("Conv1d", 2, 4, 3, padding=1), C("Conv1d", 4, 4, 3, stride=2, groups=4, bias=False),
    C("Conv2d", 3, 8, 3, padding=1), C("Conv2d", 3, 8, T(3, 5), stride=T(2, 1), dilation=2), C("Conv2d", 3, 6, 4, padding="same", dilation=T(2, 1)),
    C("Conv2d", 3, 6, 3, 2, 1), C("Conv2d", 1, 1, 3, padding="valid"), C("Conv2d", 2, 2, 3, padding=1, padding_mode="circular"),
    C("Conv2d", 2, 2, 3, padding=T(1, 2), padding_mode="reflect"), C("Conv3d", 1, 2, 3), C("Conv3d", 2, 2, T(1, 2, 3), padding=T(0, 1, 1), bias=False),
    C("ConvTranspose1d", 2, 3, 4), C("ConvTranspose2d", 4, 2, 3, stride=2, output_padding=1), C("ConvTranspose2d", 4, 4, 3, groups=2, dilation=2, padding=1),
    C("ConvTranspose3d", 1, 1, 2, bias=False),
    C("BatchNorm1d", 3), C("BatchNorm1d", 3, eps=0.001, momentum=None), C("BatchNorm2d", 8), C("BatchNorm2d", 4, affine=False), C("BatchNorm2d", 4, track_running_stats=False),
    C("BatchNorm3d", 2, momentum=F(1.0)), C("BatchNorm2d", 4, bias=False), C("SyncBatchNorm", 4),
    C("InstanceNorm1d", 3), C("InstanceNorm2d", 3, affine=True), C("InstanceNorm3d", 3, track_running_stats=True),
    C("LayerNorm", 4), C("LayerNorm", T(2, 3), eps=1e-6), C("LayerNorm", 4, elementwise_affine=False), C("LayerNorm", 4, bias=False),
    C("GroupNorm", 2, 4), C("GroupNorm", 2, 4, affine=False), C("GroupNorm", 2, 4, bias=False), C("RMSNorm", 4), C("RMSNorm", T(2, 2), eps=1e-5, elementwise_affine=False),
    C("LocalResponseNorm", 2), C("LocalResponseNorm", 3, alpha=0.001, k=2), C("CrossMapLRN2d", 2),
    C("Dropout"), C("Dropout", 0.25, True), C("Dropout", p=1), C("Dropout", p=F(1.0)), C("Dropout1d"), C("Dropout2d", p=0.1), C("Dropout3d"), C("AlphaDropout", 0.2), C("FeatureAlphaDropout"),
    C("ReLU"), C("ReLU", inplace=True), C("ReLU6"), C("ReLU6", True), C("LeakyReLU"), C("LeakyReLU", 0.2, True), C("LeakyReLU", 1), C("PReLU"), C("PReLU", 3, 0.1),
    C("RReLU"), C("RReLU", 0.1, 0.2, True), C("ELU"), C("ELU", 2, True), C("SELU"), C("SELU", True), C("CELU"), C("CELU", F(2.0)), C("GELU"), C("GELU", approximate="tanh"),
    C("SiLU"), C("SiLU", True), C("Mish"), C("Sigmoid"), C("Tanh"), C("Softmax"), C("Softmax", dim=1), C("Softmax2d"), C("Softmin", dim=-1), C("LogSoftmax", 1), C("Softplus"),
    C("Softplus", 2, 10), C("Softsign"), C("Softshrink"), C("Hardshrink", 1), C("Hardtanh"), C("Hardtanh", F(-2.0), 2, True), C("Hardswish"), C("Hardswish", True), C("Hardsigmoid"),
    C("Threshold", 0.1, 20), C("Threshold", 1, F(2.0), True), C("GLU"), C("GLU", 1), C("LogSigmoid"), C("Tanhshrink"),
    C("MultiheadAttention", 4, 2), C("MultiheadAttention", 4, 2, bias=False, batch_first=True), C("MultiheadAttention", 4, 1, kdim=3, vdim=5, add_bias_kv=True, dropout=0.1),
    C("MaxPool1d", 2), C("MaxPool2d", 2), C("MaxPool2d", T(2, 3), stride=1, padding=1, ceil_mode=True), C("MaxPool3d", 3, dilation=2, return_indices=True),
    C("MaxUnpool1d", 2), C("MaxUnpool2d", 2, stride=3), C("MaxUnpool3d", 2, padding=1),
    C("AvgPool1d", 2), C("AvgPool2d", 2), C("AvgPool2d", T(2, 1), stride=1, divisor_override=3), C("AvgPool3d", 2, 2, 1),
    C("LPPool1d", 2, 3), C("LPPool2d", F(1.0), 2, stride=2), C("LPPool3d", 2, 2), C("FractionalMaxPool2d", 3, output_ratio=0.5), C("FractionalMaxPool3d", 2, output_size=4),
    C("AdaptiveMaxPool1d", 4), C("AdaptiveMaxPool2d", T(3, None)), C("AdaptiveMaxPool3d", 2, return_indices=True),
    C("AdaptiveAvgPool1d", 1), C("AdaptiveAvgPool2d", T(1, 1)), C("AdaptiveAvgPool2d", 7), C("AdaptiveAvgPool3d", T(None, 2, 3)),
    C("ZeroPad1d", 1), C("ZeroPad2d", T(1, 2, 3, 4)), C("ZeroPad3d", 2), C("ConstantPad1d", 1, 3.5), C("ConstantPad2d", 2, 0), C("ConstantPad3d", 1, F(1.0)),
    C("ReflectionPad1d", 2), C("ReflectionPad2d", 1), C("ReflectionPad3d", 1), C("ReplicationPad1d", T(1, 2)), C("ReplicationPad2d", 3), C("ReplicationPad3d", 1),
    C("CircularPad1d", 1), C("CircularPad2d", 1), C("CircularPad3d", T(1, 1, 2, 2, 3, 3)),
    C("Embedding", 10, 3), C("Embedding", 10, 3, padding_idx=0), C("Embedding", 5, 2, padding_idx=-1, max_norm=1, norm_type=F(1.0), scale_grad_by_freq=True, sparse=True),
    C("EmbeddingBag", 4, 2), C("EmbeddingBag", 4, 2, mode="sum", padding_idx=1, max_norm=2.5),
    C("RNN", 2, 3), C("RNN", 2, 3, 2, "relu"), C("RNN", 2, 3, nonlinearity="relu", bias=False), C("LSTM", 2, 3), C("LSTM", 2, 3, num_layers=2, batch_first=True),
    C("LSTM", 2, 3, 2, dropout=0.5, bidirectional=True), C("LSTM", 2, 3, proj_size=2, bias=False), C("GRU", 2, 3), C("GRU", 4, 2, bidirectional=True),
    C("RNNCell", 2, 3), C("RNNCell", 2, 3, bias=False, nonlinearity="relu"), C("LSTMCell", 2, 3), C("GRUCell", 2, 3, bias=False),
    C("TransformerEncoderLayer", 4, 2, 8), C("TransformerEncoderLayer", 4, 2, dim_feedforward=6, activation="gelu", batch_first=True, norm_first=True, bias=False),
    C("TransformerEncoderLayer", 4, 2, 8, activation=M("SiLU")), C("TransformerDecoderLayer", 4, 2, 8, dropout=F(0.0)),
    C("TransformerEncoder", M("TransformerEncoderLayer", 4, 2, 8), 2), C("TransformerEncoder", M("TransformerEncoderLayer", 4, 2, 8, batch_first=True), 3, norm=M("LayerNorm", 4)),
    C("TransformerDecoder", M("TransformerDecoderLayer", 4, 2, 8), 2), C("Transformer", 4, 2, 1, 2, 8),
    C("Flatten"), C("Flatten", 0, 2), C("Unflatten", 1, T(2, 3)), C("Upsample", scale_factor=2), C("Upsample", T(2, 3), mode="bilinear", align_corners=True),
    C("Upsample", scale_factor=T(2, 1.5)), C("UpsamplingNearest2d", scale_factor=2), C("UpsamplingBilinear2d", size=4), C("PixelShuffle", 2), C("PixelUnshuffle", 3),
    C("Fold", T(4, 5), 2), C("Unfold", T(2, 3), stride=2), C("CosineSimilarity"), C("PairwiseDistance"), C("PairwiseDistance", 1, keepdim=True), C("ChannelShuffle", 2),
    C("L1Loss"), C("MSELoss", reduction="sum"), C("CrossEntropyLoss"), C("CrossEntropyLoss", {"$tensor": [3]}, label_smoothing=0.1, ignore_index=0), C("NLLLoss"), C("NLLLoss2d"),
    C("PoissonNLLLoss"), C("GaussianNLLLoss"), C("KLDivLoss", log_target=True), C("BCELoss"), C("BCEWithLogitsLoss", pos_weight={"$tensor": [2]}), C("HingeEmbeddingLoss"),
    C("SmoothL1Loss", beta=0.5), C("HuberLoss", delta=2), C("SoftMarginLoss"), C("MultiLabelMarginLoss"), C("MultiLabelSoftMarginLoss"), C("CosineEmbeddingLoss", 0.5),
    C("MarginRankingLoss"), C("MultiMarginLoss", 2), C("TripletMarginLoss"), C("TripletMarginWithDistanceLoss"), C("CTCLoss", blank=1, zero_infinity=True),
    C("Sequential"), C("Sequential", M("Linear", 4, 8), M("ReLU"), M("Linear", 8, 2)), C("Sequential", D(("first", M("Linear", 2, 2)), ("second", M("Tanh")))),
    C("Sequential", M("Sequential", M("Conv2d", 1, 2, 3), M("BatchNorm2d", 2)), M("Flatten")), C("Sequential", *[M("Linear", 1, 1) for _ in range(12)]),
    C("ModuleList"), C("ModuleList", [M("Linear", 2, 2), M("Linear", 2, 2), M("ReLU"), M("Linear", 2, 2)]), C("ModuleList", [M("Sequential", M("Linear", 1, 1), M("ReLU")) for _ in range(11)]),
    C("ModuleDict"), C("ModuleDict", D(("b", M("Linear", 2, 2)), ("a", M("ModuleList", [M("ReLU"), M("ReLU")])))),
    C("ParameterList"), C("ParameterList", [{"$tensor": [2]}]), C("ParameterList", [{"$tensor": [2, 3]}, {"$tensor": []}, 5]), C("ParameterDict", D(("z", {"$tensor": [2]}), ("a", {"$tensor": [1, 3]}))),
    C("Sequential", M("ParameterList", [{"$tensor": [2]}]), M("Linear", 1, 1)), C("Sequential", M("ParameterList", [{"$tensor": [2]}, {"$tensor": [3]}])),
    C("DataParallel", M("Sequential", M("Linear", 2, 2))),
]

MLP = C("Sequential", M("Linear", 2, 2), M("ReLU"), M("Linear", 2, 1))
NORMED = C("Sequential", M("Linear", 2, 2), M("BatchNorm1d", 2))
DEEP = C("Sequential", M("Sequential", M("Linear", 2, 2), M("BatchNorm1d", 2)), M("LSTM", 2, 3))
DICT = C("ModuleDict", D(("b", M("Linear", 1, 2)), ("a", M("PReLU"))))

# (model, source model, edits, options). Edits: drop KEY, add KEY SHAPE, list KEY, none KEY, prefix TEXT, reverse, plain.
LOADS = [
    (MLP, MLP, [], {}),
    (MLP, MLP, [["drop", "0.bias"]], {}),
    (MLP, MLP, [["drop", "0.bias"]], {"strict": False}),
    (MLP, MLP, [["add", "q", [1]]], {}),
    (MLP, MLP, [["add", "q", [1]]], {"strict": False}),
    (MLP, MLP, [["add", "q", [1]], ["add", "0.foo", [1]], ["add", "1.x", [2]], ["add", "2.weight.y", [2]], ["add", "7.weight", [2]]], {}),
    (MLP, MLP, [["add", "0.weight", [2, 3]]], {}),
    (MLP, MLP, [["add", "0.weight", [2, 3]]], {"strict": False}),
    (MLP, MLP, [["add", "0.weight", []], ["drop", "0.bias"], ["add", "q", [1]]], {}),
    (MLP, MLP, [["list", "0.weight"], ["none", "2.bias"]], {}),
    (MLP, MLP, [["list", "0.weight"]], {"strict": False}),
    (MLP, MLP, [["prefix", "module."]], {}),
    (MLP, MLP, [["prefix", "module."]], {"strict": False}),
    (MLP, MLP, [["reverse"], ["drop", "2.weight"], ["drop", "0.weight"]], {}),
    (MLP, MLP, [["plain"]], {}),
    (MLP, MLP, [["drop", "0.bias"], ["add", "2.weight", [5]]], {"assign": True}),
    (MLP, MLP, [["add", "_extra_state", [1]], ["add", "0._extra_state", [1]]], {}),
    (NORMED, NORMED, [["drop", "1.num_batches_tracked"]], {}),
    (NORMED, NORMED, [["drop", "1.num_batches_tracked"], ["plain"]], {}),
    (NORMED, NORMED, [["prefix", "module."]], {}),
    (NORMED, NORMED, [["add", "1.num_batches_tracked", [1]]], {}),
    (NORMED, MLP, [], {}),
    (DEEP, DEEP, [["drop", "0.1.running_mean"], ["add", "1.weight_ih_l1", [2]], ["add", "0.1.weight", [3]]], {}),
    (DEEP, DEEP, [["drop", "1.bias_hh_l0"]], {"strict": False}),
    (DICT, DICT, [["add", "c.weight", [1]], ["drop", "a.weight"]], {}),
    (C("Linear", 2, 2), C("Linear", 2, 2), [["add", "weight", [2, 2]], ["add", "bias", [3]]], {}),
    (C("Linear", 2, 2, bias=False), C("Linear", 2, 2), [], {}),
    (C("PReLU"), C("PReLU"), [["add", "weight", []]], {}),
]


def value(spec):
    if isinstance(spec, list):
        return [value(item) for item in spec]
    if not isinstance(spec, dict):
        return spec
    ((kind, of),) = spec.items()
    if kind == "$float":
        return float(of)
    if kind == "$tuple":
        return tuple(value(item) for item in of)
    if kind == "$tensor":
        return torch.ones(of)
    if kind == "$module":
        return module(of)
    from collections import OrderedDict

    return OrderedDict((key, value(item)) for key, item in of)


def module(spec):
    cls, args, kwargs = spec
    options = {key: value(item) for key, item in kwargs.items()}
    if "dtype" in options:
        options["dtype"] = getattr(torch, options["dtype"])
    return getattr(nn, cls)(*[value(item) for item in args], **options)


def is_uninitialized(tensor):
    return isinstance(tensor, nn.parameter.UninitializedTensorMixin)


def describe(built):
    state = built.state_dict()
    return {
        "text": repr(built),
        "attributes": [key for key in built.__dict__ if key not in ("_flat_weight_refs", "_load_hook", "_initialize_hook")],
        "parameters": [[key, None if p is None else True] for key, p in built._parameters.items()],
        "buffers": [[key, None if b is None else True] for key, b in built._buffers.items()],
        "state": [[key, None if is_uninitialized(t) else [str(t.dtype), list(t.shape)]] for key, t in state.items()],
        "metadata": [[key, dict(entry)] for key, entry in state._metadata.items()],
        "named_parameters": [name for name, _ in built.named_parameters()],
        "named_modules": [name for name, _ in built.named_modules()],
    }


def edited(spec, edits):
    from collections import OrderedDict

    state = module(spec).state_dict()
    for kind, *rest in edits:
        if kind == "drop":
            del state[rest[0]]
        elif kind == "add":
            state[rest[0]] = torch.ones(rest[1])
        elif kind == "list":
            state[rest[0]] = [1, 2]
        elif kind == "none":
            state[rest[0]] = None
        elif kind == "plain":
            state = dict(state)
        elif kind == "prefix":
            state = OrderedDict((rest[0] + key, tensor) for key, tensor in state.items())
        elif kind == "reverse":
            metadata = state._metadata
            state = OrderedDict(reversed(list(state.items())))
            state._metadata = metadata
    return state


def outcome(model, source, edits, options):
    torch.manual_seed(0)
    try:
        return {"result": repr(module(model).load_state_dict(edited(source, edits), **options))}
    except RuntimeError as error:
        return {"error": str(error)}


def texts_of(things):
    texts = []
    for thing in things:
        try:
            texts.append(repr(thing()))
        except Exception as error:  # noqa: BLE001 the text of any error is what is recorded
            texts.append(str(error))
    return texts


def other_texts():
    def loading(given):
        return lambda: nn.Linear(1, 1).load_state_dict(given)

    def run(code):
        def go():
            model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
            return eval(code, {"nn": nn, "torch": torch, "model": model})  # noqa: S307 our own texts

        return go

    return {
        "not_mappings": texts_of([loading(x) for x in ([], (1,), None, 3, 1.5, "x", True, torch.ones(1), {1}, b"x", nn.Linear(1, 1), torch.Size([1]))]),
        "paths": texts_of(
            [run(code) for code in (
                "model.get_submodule('0.weight')", "model.get_submodule('5')", "model.get_submodule('0.nothing')", "model.get_parameter('0.nothing')",
                "model.get_parameter('1')", "model.get_buffer('0.weight')", "model.get_buffer('0.nothing')", "model.get_submodule('1')", "model.get_parameter('5.weight')",
            )]
        ),
        "registering": texts_of(
            [run(code) for code in (
                "model.register_buffer('a.b', None)", "model.register_buffer('', None)", "model[0].register_buffer('weight', None)", "model.register_buffer('x', 5)",
                "model.register_parameter('x', torch.ones(1))", "model.register_parameter('x', 'text')", "model.add_module('x', 3)", "model.add_module('a.b', nn.ReLU())",
                "model.add_module('', nn.ReLU())", "model[0].add_module('weight', nn.ReLU())", "setattr(model[0], 'weight', torch.ones(1))", "setattr(model, '0', 5)",
            )]
        ),
    }


def record():
    cases = [{"module": spec, **describe(module(spec))} for spec in CASES]
    loads = [{"model": m, "source": s, "edits": e, "options": o, **outcome(m, s, e, o)} for m, s, e, o in LOADS]
    with open(FIXTURE, "w") as out:
        out.write('{"torch": "%s", "cases": [\n' % torch.__version__.split("+")[0])
        out.write(",\n".join(json.dumps(case) for case in cases))
        out.write('\n], "loads": [\n')
        out.write(",\n".join(json.dumps(load) for load in loads))
        out.write('\n], "texts": ' + json.dumps(other_texts()) + "}\n")


def fill(built):
    """Values that both sides can make: 0, 1, 2, ... through all parameters and floating buffers."""
    start = 0
    for tensor in built.state_dict().values():
        if is_uninitialized(tensor) or tensor.is_meta:
            continue
        flat = torch.arange(start, start + tensor.numel(), dtype=torch.float64) % 251
        tensor.copy_(flat.reshape(tensor.shape))
        start += tensor.numel()
    return built


def saved_cases():
    return [(i, spec) for i, spec in enumerate(CASES) if not spec[0].startswith("Lazy")]


def files(folder):
    texts = {}
    with open(FIXTURE) as recorded:
        texts_by_case = [case["text"] for case in json.load(recorded)["cases"]]
    for i, spec in saved_cases():
        # A process of its own: Python shares attribute names with modules that were there before.
        child = os.fork()
        if child == 0:
            built = fill(module(spec))
            torch.save(built, os.path.join(folder, f"model-{i}.pt"))
            torch.save(built.state_dict(), os.path.join(folder, f"state-{i}.pt"))
            torch.save({"first": built.state_dict(), "second": built.state_dict()}, os.path.join(folder, f"twice-{i}.pt"))
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError(f"case {i} could not be saved")
        texts[str(i)] = texts_by_case[i]
    with open(os.path.join(folder, "texts.json"), "w") as out:
        json.dump(texts, out)


def check(folder):
    for name in sorted(os.listdir(folder)):
        if not name.startswith("ours-"):
            continue
        try:
            built = torch.load(os.path.join(folder, name), weights_only=False)
            again = {key: tensor.double().flatten().tolist() for key, tensor in built.state_dict().items() if not tensor.is_meta}
            built.train()
            built.load_state_dict(built.state_dict())
            attributes = [key for key in built.__dict__ if key != "_flat_weight_refs"]
            print(json.dumps({"name": name, "text": repr(built), "state": again, "attributes": attributes}))
        except Exception as error:  # noqa: BLE001 reported to the test
            print(json.dumps({"name": name, "error": f"{type(error).__name__}: {error}"}))


if __name__ == "__main__":
    torch.manual_seed(0)
    {"record": record, "files": files, "check": check}[sys.argv[1]](*sys.argv[2:])
