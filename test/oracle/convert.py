"""Compares converted files with their source as PyTorch, safetensors, NumPy and gguf read them.

Reads a JSON list of [source, target, file, dtype or null] from its input; prints one JSON line for each,
{"compared": n, "wrong": [...]} or {"missing": module}.
"""
import json
import sys
import warnings

import numpy as np
import torch

warnings.simplefilter("ignore")


def flat(value, path=""):
    """The tensors of dicts and lists, under the paths that the package gives them."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            step = key if isinstance(key, str) else f"[{key!r}]"
            yield from flat(item, f"{path}.{step}" if path and isinstance(key, str) else path + step)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from flat(item, f"{path}[{i}]")


def plain(tensor):
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def as_bytes(tensor):
    tensor = plain(tensor)
    return tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and as_bytes(a) == as_bytes(b)


def cast(tensor, dtype):
    return plain(tensor).to(dtype) if dtype and tensor.is_floating_point() else plain(tensor)


def compare(source, read, widen=None):
    wrong = []
    for name, actual in read.items():
        expected = source[name]
        if widen and (expected.dtype == torch.bfloat16 or "float8" in str(expected.dtype)):
            expected = expected.float()
        if widen and expected.dtype == torch.complex32:
            expected = expected.to(torch.complex64)
        if not same(expected, actual):
            wrong.append(name)
    return wrong


def from_numpy(array):
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)


def gguf_wrong(source, path):
    import gguf

    wrong = []
    reader = gguf.GGUFReader(path)
    for tensor in reader.tensors:
        expected = source[tensor.name]
        kind = tensor.tensor_type.name
        data = tensor.data.tobytes()
        if kind == "Q8_0":
            want = gguf.quants.quantize(expected.float().numpy(), gguf.GGMLQuantizationType.Q8_0).tobytes()
        elif kind == "BF16":
            want = as_bytes(expected.to(torch.bfloat16))
        else:
            want = expected.numpy().astype(tensor.data.dtype).tobytes() if expected.dtype != torch.bfloat16 and "float8" not in str(expected.dtype) else expected.float().numpy().tobytes()
        if data != want or (expected.ndim and list(tensor.shape)[::-1] != list(expected.shape)):
            wrong.append(tensor.name)
    return wrong, len(reader.tensors)


def main(source_path, target, path, dtype_name=None):
    dtype = getattr(torch, dtype_name) if dtype_name and dtype_name != "q8_0" else None
    tensors = dict(flat(torch.load(source_path, weights_only=False)))
    source = {name: cast(tensor, dtype) for name, tensor in tensors.items() if tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized}
    if target == "gguf":
        wrong, count = gguf_wrong(source, path)
        return {"compared": count, "wrong": wrong}
    if target == "safetensors":
        from safetensors.torch import load_file

        read = load_file(path)
    elif target == "npz":
        with np.load(path) as arrays:
            read = {name: from_numpy(arrays[name]) for name in arrays.files}
    else:
        read = {name: tensor for name, tensor in flat(torch.load(path, weights_only=False)) if name in source}
    return {"compared": len(read), "wrong": compare(source, read, widen=target == "npz")}


if __name__ == "__main__":
    for job in json.load(sys.stdin):
        try:
            print(json.dumps(main(*job)))
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name}))
