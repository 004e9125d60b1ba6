"""Tensors with the text that PyTorch prints for them, as JSON.

    python print.py fixture > ../fixtures/print.json    the 150 recorded cases, and the text of some Python values
    python print.py random SEED COUNT                   fresh ones, for print.test.ts
    python print.py numpy SEED COUNT                    {array, text} of random NumPy arrays and scalars

A case is {options, tensor, text}; tensor is what `print-case.ts` builds: storage bytes and the window on them.
"""
import base64
import datetime
import json
import random
import sys
import warnings
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from pathlib import PosixPath
from types import SimpleNamespace

import numpy as np
import torch

warnings.filterwarnings("ignore")

FLOATS = ["float32", "float64", "float16", "bfloat16"]
FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
COMPLEX = ["complex64", "complex128", "complex32"]
DTYPES = FLOATS * 4 + FLOAT8 + INTS + COMPLEX * 2 + ["bool", "float4_e2m1fn_x2"]
DEFAULTS = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}


def describe(t):
    """What print-case.ts needs to build the same tensor."""
    if t.is_nested:
        parts = [t.values(), t._nested_tensor_size(), t._nested_tensor_strides(), t._nested_tensor_storage_offsets()]
        return {"kind": "nested", "components": [describe(p) for p in parts], "requires_grad": t.requires_grad}
    if t.layout == torch.sparse_coo:
        return {"kind": "sparse", "layout": "sparse_coo", "shape": list(t.shape), "requires_grad": t.requires_grad,
                "components": {"indices": describe(t._indices()), "values": describe(t._values())}}
    if t.layout != torch.strided:
        rows = t.layout in (torch.sparse_csr, torch.sparse_bsr)
        names = ["crow_indices", "col_indices"] if rows else ["ccol_indices", "row_indices"]
        keys = ["crowIndices", "colIndices"] if rows else ["ccolIndices", "rowIndices"]
        components = {key: describe(getattr(t, name)()) for key, name in zip(keys, names)}
        return {"kind": "sparse", "layout": str(t.layout)[6:], "shape": list(t.shape), "requires_grad": t.requires_grad,
                "components": {**components, "values": describe(t.values().detach())}}
    case = {"kind": "strided", "dtype": str(t.dtype)[6:], "shape": list(t.shape), "requires_grad": t.requires_grad}
    if t.is_meta:
        return {**case, "kind": "meta"}
    storage = t.untyped_storage()
    raw = bytes(torch.tensor([], dtype=torch.uint8).set_(storage).tolist())
    if t.dtype == torch.quint4x2:
        raw = raw[: (t.numel() + 1) // 2]  # PyTorch allocates more than it fills
    case.update(bytes=base64.b64encode(raw).decode(), stride=list(t.stride()), offset=t.storage_offset())
    if t.is_quantized:
        case.update(kind="quantized", qscheme=str(t.qscheme())[6:])
        if t.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            case.update(scale=t.q_scale(), zero_point=t.q_zero_point())
        else:
            case.update(scales=describe(t.q_per_channel_scales()), zero_points=describe(t.q_per_channel_zero_points()),
                        axis=t.q_per_channel_axis())
        return case
    if t.is_conj():
        case["conj"] = True
    if t.is_neg():
        case["neg"] = True
    if isinstance(t, torch.nn.Parameter):
        case["parameter"] = True
    return case


def record(t, **options):
    options = {**DEFAULTS, **options}
    torch.set_printoptions(**options)
    try:
        return {"options": options, "tensor": describe(t), "text": repr(t)}
    finally:
        torch.set_printoptions(profile="default")


def values(rng, count, style):
    out = []
    for _ in range(count):
        x = {
            "integers": lambda: float(rng.randint(-rng.choice([3, 30, 3000, 10**9]), 2000)),
            "small": lambda: rng.gauss(0, 1),
            "wide": lambda: rng.gauss(0, 1) * 10 ** rng.uniform(-12, 12),
            "ties": lambda: rng.randint(-64, 64) / 2 ** rng.randint(0, 9),
            "tenths": lambda: round(rng.uniform(-20, 20), rng.randint(0, 5)),
            "large": lambda: rng.uniform(1, 10) * 10 ** rng.randint(5, 25),
            "zeros": lambda: rng.choice([0.0, -0.0, 1.0]),
        }[style]()
        if rng.random() < 0.02:
            x = rng.choice([float("nan"), float("inf"), float("-inf"), 0.0, -0.0])
        out.append(x)
    return out


STYLES = ["integers", "small", "small", "wide", "ties", "tenths", "large", "zeros"]


def random_shape(rng):
    ndim = rng.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5])
    if rng.random() < 0.08:
        return rng.choice([[1001], [40, 30], [3, 400], [7, 8, 20], [1500, 1], [1, 1200], [2, 7, 9, 11], [1, 1, 1, 1005]])
    shape = [rng.choice([1, 1, 2, 3, 4, 5, 7]) for _ in range(ndim)]
    if ndim == 1 and rng.random() < 0.5:
        shape = [rng.randint(1, 40)]
    if rng.random() < 0.04 and ndim:
        shape[rng.randrange(ndim)] = 0
    return shape


def dense(rng, shape, name):
    numel = 1
    for size in shape:
        numel *= size
    dtype = getattr(torch, name)
    style = rng.choice(STYLES)
    if name == "bool":
        t = torch.tensor([rng.random() < 0.5 for _ in range(numel)], dtype=dtype)
    elif name in INTS:
        info = torch.iinfo(dtype)
        spread = rng.choice([3, 100, 10**5, 2**62, 2**64])
        t = torch.tensor([max(info.min, min(info.max, rng.randint(-spread, spread))) for _ in range(numel)], dtype=dtype)
    elif name in COMPLEX:
        other = rng.choice([style, rng.choice(STYLES)])
        parts = [complex(a, b) for a, b in zip(values(rng, numel, style), values(rng, numel, other))]
        t = torch.tensor(parts, dtype=torch.complex128).to(dtype)
    elif name in FLOAT8 and rng.random() < 0.5 or name == "float4_e2m1fn_x2":
        t = torch.tensor([rng.randrange(256) for _ in range(numel)], dtype=torch.uint8).view(dtype)
    else:
        t = torch.tensor(values(rng, numel, style), dtype=torch.float64).to(dtype)
    return t.reshape(shape)


def restride(rng, t):
    """Now and then a view that is not contiguous."""
    choice = rng.random()
    if t.dim() >= 2 and choice < 0.15:
        return t.permute(rng.sample(range(t.dim()), t.dim()))
    if t.dim() >= 1 and choice < 0.25 and t.shape[-1] > 2:
        return t[..., 1::2]
    if t.dim() >= 1 and choice < 0.3:
        return t.unsqueeze(0).expand(rng.randint(1, 3), *t.shape)
    return t


def random_options(rng):
    if rng.random() < 0.6:
        return {}
    options = {}
    if rng.random() < 0.5:
        options["precision"] = rng.choice([0, 1, 2, 3, 6, 8, 12, 20])
    if rng.random() < 0.5:
        options["linewidth"] = rng.choice([20, 40, 60, 120, 200])
    if rng.random() < 0.5:
        options["threshold"] = rng.choice([0, 5, 20, 100])
    if rng.random() < 0.5:
        options["edgeitems"] = rng.choice([0, 1, 2, 4])
    if rng.random() < 0.4:
        options["sci_mode"] = rng.choice([True, False])
    return options


def random_case(rng):
    while True:
        try:
            return record(random_tensor(rng), **random_options(rng))
        except (NotImplementedError, RuntimeError):
            continue  # PyTorch itself cannot make or print this one


def random_tensor(rng):
    kind = rng.random()
    if kind < 0.04:
        t = dense(rng, [rng.randint(0, 5), rng.randint(0, 6)], rng.choice(FLOATS + ["int64", "complex64"]))
        sparse = t.to_sparse() if rng.random() < 0.7 else t.unsqueeze(-1).to_sparse(rng.choice([1, 2, 3]))
        return sparse.requires_grad_() if t.is_floating_point() and rng.random() < 0.3 else sparse
    if kind < 0.08:
        t = dense(rng, [rng.choice([2, 4, 6]), rng.choice([2, 4, 6])], rng.choice(["float32", "float64", "int64", "bool"]))
        t[torch.tensor([[rng.random() < 0.5 for _ in row] for row in t.tolist()])] = 0
        layout = rng.choice(["csr", "csc", "bsr", "bsc"])
        return getattr(t, f"to_sparse_{layout}")(*([(2, 2)] if layout[0] == "b" else []))
    if kind < 0.13:
        t = torch.tensor(values(rng, 12, "small"), dtype=torch.float32).reshape(rng.choice([[12], [3, 4], [2, 3, 2]]))
        dtype = rng.choice([torch.qint8, torch.quint8, torch.qint32])
        if rng.random() < 0.5:
            return torch.quantize_per_tensor(t.nan_to_num(), rng.choice([0.1, 0.5, 1e-5, 3]), rng.randint(0, 5), dtype)
        axis = rng.randrange(t.dim())
        scales = torch.tensor([rng.uniform(0.01, 1) for _ in range(t.shape[axis])], dtype=torch.float64)
        zeros = torch.tensor([rng.randint(0, 3) for _ in range(t.shape[axis])])
        return torch.quantize_per_channel(t.nan_to_num(), scales, zeros, axis, dtype)
    if kind < 0.15:
        return torch.nested.nested_tensor([dense(rng, [rng.randint(1, 3), 2], "float32") for _ in range(rng.randint(1, 3))])
    if kind < 0.18:
        return torch.empty(random_shape(rng), dtype=getattr(torch, rng.choice(DTYPES)), device="meta")
    t = restride(rng, dense(rng, random_shape(rng), rng.choice(DTYPES)))
    if t.is_complex() and rng.random() < 0.3:
        return t.conj() if rng.random() < 0.5 else t.conj().imag
    if t.dtype.is_floating_point and rng.random() < 0.1 and t.dtype in (torch.float32, torch.float64):
        t = t.detach().clone()
        return torch.nn.Parameter(t) if rng.random() < 0.5 else t.requires_grad_()
    return t


def numpy_case(rng):
    dtype = rng.choice(["f8"] * 5 + ["f4", "f4", "f2", "i8", "i4", "u1", "b1", "c16", "c8", "U5", "S3"])
    shape = rng.choice([[], [1], [3], [7], [30], [2, 3], [4, 5], [2, 3, 2], [0], [0, 3], [1200], [40, 30]])
    numel = int(np.prod(shape))
    style = rng.choice(STYLES)
    numbers = values(rng, numel, style)
    if dtype[0] == "f":
        array = np.array(numbers, dtype=dtype)
    elif dtype[0] == "c":
        array = np.array([complex(a, b) for a, b in zip(numbers, values(rng, numel, style))], dtype=dtype)
    elif dtype[0] in "US":
        array = np.array([str(abs(rng.randint(0, 10**4))) for _ in range(numel)], dtype=dtype)
    else:
        array = np.array([rng.randint(0, rng.choice([2, 200])) for _ in range(numel)], dtype=dtype)
    array = array.reshape(shape)
    scalar = numel == 1 and rng.random() < 0.7
    value = array.reshape(-1)[0] if scalar else array
    return {"array": {"dtype": array.dtype.str, "shape": shape, "bytes": base64.b64encode(array.tobytes()).decode(), "scalar": scalar},
            "text": repr(value)}


def python_values():
    """In the order of `values` in print.test.ts."""
    cycle = [1]
    cycle.append(cycle)
    ring = {}
    ring["self"] = ring
    return [
        None, True, 1, 1.0, 2**70, 1e16, 1e-5, 0.0001, 123456789.123, -0.0, 1e22, float("inf"), float("nan"),
        "it's", "a'b\"\n\x00\xe9\u200b\U0001f600\\", b"a'\n\xff", bytearray(b"x"),
        [1, 2.5], (), (1,), (1, 2), {}, {"a": [1], 2: None}, set(), {1}, frozenset(), frozenset({1}),
        complex(1, 2), complex(0, -1), complex(1.5, float("nan")), complex(-0.0, 1),
        torch.Size([2, 3]), torch.device("cuda:1"), torch.device("cpu"), torch.float32, torch.strided, torch.per_tensor_affine,
        OrderedDict(), OrderedDict([("a", 1), ("b", torch.zeros(2, 2))]), defaultdict(list, {"a": [1]}), Counter("abbb"), Counter(),
        int, torch.nn.Linear, slice(1, None), range(3), range(0, 4, 2), Namespace(a=1, **{"b c": 2}), SimpleNamespace(a=1),
        deque([1, 2], maxlen=3), datetime.datetime(2020, 1, 2, 3, 4), datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
        datetime.date(2020, 1, 2), datetime.timedelta(days=-1, seconds=5), PosixPath("/a/b"), Decimal("1.5"),
        cycle, ring, {"w": torch.eye(2), "l": [torch.zeros(2, 2)]}, torch.storage.UntypedStorage(0),
        torch.tensor([1.0, 2.5]).storage(),
    ]


def fixture():
    """Every kind and dtype, then random ones, 150 in all."""
    rng = random.Random(2013)
    T = torch.tensor
    cases = [
        record(t)
        for t in [
            T([1.5, 2, 300]), T([1e-5, 1.0]), T([1e-4, 1.0]), T([1e8, 1.0]), T([123456789.0]), T([99999999.0]),
            T([1001.0, 0.5]), T([float("nan"), float("inf"), -1.0]), T([float("nan"), 1.5]), T([-0.0]), T([1e38]), T([1e-38]),
            T([]), torch.empty(0, 3), torch.empty(2, 0, dtype=torch.int32), T(3.14159265), T(True), T(1 + 2j),
            T([1 + 2j, -3.5 - 1e-3j]), T([1e-9j, 1000]), T([2**62, -1]), torch.arange(12).reshape(2, 2, 3),
            torch.arange(40.0), torch.zeros(1).expand(1000, 2), torch.ones(1).expand(2, 2, 1000),
            torch.nn.Parameter(torch.zeros(2)), torch.empty(2, 3, device="meta"), torch.eye(2).to_sparse(),
            torch.eye(2).to_sparse_csr(), torch.eye(4).to_sparse_csc(), torch.eye(4).to_sparse_bsr((2, 2)),
            torch.eye(4).to_sparse_bsc((2, 2)), torch.quantize_per_tensor(T([1.0, 2.0]), 0.1, 10, torch.quint8),
            torch.nested.nested_tensor([torch.zeros(2, 2), torch.ones(1, 2)]), T([0.5, 1.5, 2.5]) * 1e-4,
            torch.quantize_per_channel(torch.ones(2, 3), T([0.1, 0.2]), T([0.0, 1.0]), 0, torch.quint4x2),
        ]
    ]
    cases += [record(dense(rng, [3, 4], name)) for name in FLOATS + FLOAT8 + INTS + COMPLEX + ["bool", "float4_e2m1fn_x2"]]
    while len(cases) < 150:
        case = random_case(rng)
        if len(json.dumps(case)) < 1500:
            cases.append(case)
    return {"torch": torch.__version__, "cases": cases}


if __name__ == "__main__":
    if sys.argv[1] == "fixture":
        document = fixture()
        lines = ",\n".join(json.dumps(case) for case in document["cases"])
        texts = ",\n".join(json.dumps(repr(value)) for value in python_values())
        print(f'{{"torch": "{document["torch"]}", "cases": [\n{lines}\n], "values": [\n{texts}\n]}}')
    elif sys.argv[1] == "numpy":
        rng = random.Random(int(sys.argv[2]))
        for _ in range(int(sys.argv[3])):
            print(json.dumps(numpy_case(rng)))
    else:
        rng = random.Random(int(sys.argv[2]))
        for _ in range(int(sys.argv[3])):
            print(json.dumps(random_case(rng)))
