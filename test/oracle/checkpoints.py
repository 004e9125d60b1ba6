"""What the installed PyTorch makes of checkpoints, one JSON line for each.

    python checkpoints.py version                     its version
    python checkpoints.py random SEED COUNT DIR       writes COUNT random checkpoints into DIR; a manifest entry for each
    python checkpoints.py describe FILE...            the manifest entry of each file, or {file, error}
    python checkpoints.py weights-only FILE...        {file, error: null or the message}
"""
import collections
import json
import os
import random
import sys
import warnings

warnings.filterwarnings("ignore")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import describe  # noqa: E402
import models  # noqa: E402

Net, Tagged, Scaled, Config, Slots = models.Net, models.Tagged, models.Scaled, models.Config, models.Slots

DTYPES = [name for name in """float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex128 complex64
uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz""".split() if hasattr(torch, name)]


def some_tensor(pool):
    if pool and random.random() < 0.3:
        t = random.choice(pool)
        for _ in range(random.randint(0, 3)):
            t = some_view(t)
        return t
    dtype = getattr(torch, random.choice(DTYPES))
    shape = [random.randint(0, 5) if random.random() < 0.1 else random.randint(1, 5) for _ in range(random.randint(0, 4))]
    t = torch.randn(shape).mul(3).abs().to(dtype)
    pool.append(t)
    choice = random.random()
    if choice < 0.1 and (dtype.is_floating_point or dtype.is_complex) and t.element_size() > 1:
        t = torch.nn.Parameter(t, requires_grad=random.random() < 0.7)
        if random.random() < 0.3:
            t.note = random.choice(["x", 1, None])
    elif choice < 0.15 and dtype in (torch.float32, torch.float64) and t.dim() == 2 and t.numel():
        t = random.choice([t.to_sparse_coo, t.to_sparse_csr, t.to_sparse_csc])()
    return t


def some_view(t):
    if t.layout != torch.strided or t.dim() == 0:
        return t
    dim = random.randrange(t.dim())
    view = random.choice(["transpose", "narrow", "select", "step", "expand"])
    if view == "transpose":
        return t.transpose(dim, random.randrange(t.dim()))
    if view == "expand":
        return t.unsqueeze(dim).expand(*t.shape[:dim], 2, *t.shape[dim:]) if t.dim() < 5 else t
    if t.shape[dim] == 0:
        return t
    if view == "narrow":
        start = random.randrange(t.shape[dim])
        return t.narrow(dim, start, random.randint(0, t.shape[dim] - start))
    if view == "select":
        return t.select(dim, random.randrange(t.shape[dim]))
    return t[tuple([slice(None)] * dim + [slice(None, None, 2)])]


SCALARS = [None, True, False, 0, 1, -1, 255, 256, 65536, -(2**31), 2**40, 2**70, -(2**100), 0.0, 1.0, -0.0, 0.1, 1e300, float("inf"), "", "a", "gr\u00fc\u00df", "\U0001f525", "x" * 300, b"", b"\x00\xff", 1 - 2j]


def some_value(depth, pool, shared):
    if shared and random.random() < 0.08:
        return random.choice(shared)
    choice = random.random()
    if depth == 0 or choice < 0.3:
        return random.choice(SCALARS)
    if choice < 0.55:
        return some_tensor(pool)
    items = [some_value(depth - 1, pool, shared) for _ in range(random.randint(0, 5))]
    if choice < 0.65:
        made = items
    elif choice < 0.72:
        return tuple(items)
    else:
        keys = [random.choice(["weight", "a.b", "", "gr\u00fc\u00df", "0", "__proto__", 0, 7, -3, None, (1, "a")]) for _ in items]
        made = dict(zip(keys, items))
        if choice > 0.85:
            made = collections.OrderedDict(made)
            if random.random() < 0.5:
                made._metadata = {"version": 1}
    shared.append(made)
    return made


def write_random(seed, count, folder):
    for i in range(count):
        random.seed(seed * 1000 + i)
        torch.manual_seed(seed * 1000 + i)
        pool, shared = [], []
        value = {f"k{j}": some_value(3, pool, shared) for j in range(random.randint(1, 6))}
        path = os.path.join(folder, f"random-{i}.pt")
        legacy = random.random() < 0.25
        options = {"pickle_protocol": random.choice([2, 2, 2, 3, 4, 5])}
        try:
            torch.save(value, path, _use_new_zipfile_serialization=not legacy, **options)
            entry = describe.describe_torch(path)
        except Exception as error:  # PyTorch itself cannot write it, or cannot read what it wrote.
            print(json.dumps({"file": path, "error": str(error)[:200]}))
            continue
        print(json.dumps({"file": path, **entry}))


def describe_any(path):
    if path.endswith(".safetensors"):
        return describe.describe_safetensors(path)
    if path.endswith(".pkl"):
        return describe.describe_pickle(path)
    if os.path.basename(path).startswith("torchscript"):
        return describe.describe_torchscript(path)
    return describe.describe_torch(path)


def weights_only(path):
    try:
        torch.load(path, weights_only=True, map_location="cpu")
        return {"error": None}
    except Exception as error:
        return {"error": str(error)}


def main(command, *args):
    if command == "version":
        print(json.dumps({"version": torch.__version__}))
    elif command == "random":
        write_random(int(args[0]), int(args[1]), args[2])
    else:
        for path in args:
            if command == "weights-only":
                print(json.dumps({"file": path, **weights_only(path)}))
                continue
            try:
                entry = describe_any(path)
            except Exception as error:
                entry = {"error": f"{type(error).__name__}: {error}"[:500]}
            print(json.dumps({"file": path, **entry}))


if __name__ == "__main__":
    np.random.seed(0)
    torch.set_num_threads(1)
    main(*sys.argv[1:])
