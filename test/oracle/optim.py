"""Writes test/fixtures/optim.json: what PyTorch 2.13 makes of optimizers and schedulers.

    python test/oracle/optim.py > test/fixtures/optim.json

Keyword arguments are recorded as they are, floats as {"float": x}, so that 1 and 1.0 stay apart.
"""

import base64
import io
import json
import struct
import sys
import warnings
import zipfile

import torch
from torch.optim import lr_scheduler

warnings.simplefilter("ignore")
torch.set_num_threads(1)

STEPS = 5
EPOCHS = 50

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 1, "momentum": 0.9}),
    ("SGD", {"lr": 1.0, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.2, "amsgrad": True, "foreach": False}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"alpha": 0.5, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adagrad", {"initial_accumulator_value": 1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.5, "weight_decay": 0.1}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.6), "weight_decay": 0.1}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 1.0)}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "t0": 2, "weight_decay": 0.1}),
    ("LBFGS", {}),
    ("LBFGS", {"max_iter": 7, "line_search_fn": "strong_wolfe"}),
    ("SparseAdam", {}),
    ("Adafactor", {}),
    ("Adafactor", {"eps": (1e-30, 1e-3)}),
    ("Muon", {"_only_matrix": True}),
]
WITHOUT_STEP = {"LBFGS", "SparseAdam", "Adafactor", "Muon"}

SCHEDULERS = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 10, "gamma": 1}),
    ("MultiStepLR", {"milestones": [5, 20, 20, 33], "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [40, 10]}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 20}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 30}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 40, "power": 0.9}),
    ("PolynomialLR", {"total_iters": 30, "power": 2}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 13, "eta_min": 1e-4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "step_size_down": 11, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "mode": "exp_range", "gamma": 0.97, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 51}),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 6, "steps_per_epoch": 10, "three_phase": True, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 60, "pct_start": 0.5, "cycle_momentum": False}),
    ("LambdaLR", {"lr_lambda": "reciprocal"}),
    ("MultiplicativeLR", {"lr_lambda": "reciprocal"}),
    ("ReduceLROnPlateau", {"patience": 2}),
    ("ReduceLROnPlateau", {"mode": "max", "factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.001, "threshold_mode": "abs"}),
    ("SequentialLR", {}),
    ("ChainedScheduler", {}),
]

ERRORS = [
    ("SGD", {"lr": -1}), ("SGD", {"lr": -0.5}), ("SGD", {"momentum": -1.0}), ("SGD", {"weight_decay": -0.1}),
    ("SGD", {"nesterov": True}), ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}), ("SGD", {"foo": 1}),
    ("SGD", {"fused": True, "differentiable": True}), ("SGD", {"fused": True, "foreach": True}),
    ("Adam", {"lr": -1}), ("Adam", {"eps": -1}), ("Adam", {"betas": (1.0, 0.9)}), ("Adam", {"betas": (0.9, -1.0)}), ("Adam", {"weight_decay": -1}),
    ("AdamW", {"decoupled_weight_decay": True}),
    ("RMSprop", {"alpha": -1}), ("RMSprop", {"momentum": -1}), ("RMSprop", {"eps": -1e-8}),
    ("Adagrad", {"lr_decay": -1}), ("Adagrad", {"initial_accumulator_value": -1}),
    ("Adadelta", {"rho": 1.5}), ("Adamax", {"betas": (0.9, 1)}), ("NAdam", {"momentum_decay": -1}), ("RAdam", {"lr": -1}),
    ("Rprop", {"etas": (1.5, 1.2)}), ("ASGD", {"weight_decay": -1}), ("LBFGS", {"lr": -1}), ("SparseAdam", {"lr": 0}),
    ("Adafactor", {"d": 0.5}), ("Adafactor", {"beta2_decay": 0.5}), ("Adafactor", {"eps": (None, -1.0)}),
    ("Muon", {"_only_matrix": True, "adjust_lr_fn": "x"}), ("Muon", {}),
    ("StepLR", {}), ("ConstantLR", {"factor": 2.0}), ("LinearLR", {"start_factor": 0.0}), ("LinearLR", {"end_factor": 1.5}),
    ("StepLR", {"step_size": 3, "last_epoch": 3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}), ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 0}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "mode": "x"}), ("CyclicLR", {"base_lr": [0.1, 0.2], "max_lr": 1}),
    ("OneCycleLR", {"max_lr": 1}), ("OneCycleLR", {"max_lr": 1, "total_steps": 0}), ("OneCycleLR", {"max_lr": 1, "total_steps": 5, "pct_start": 1.5}),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 5, "anneal_strategy": "x"}),
    ("ReduceLROnPlateau", {"factor": 1.5}), ("ReduceLROnPlateau", {"mode": "x"}), ("ReduceLROnPlateau", {"threshold_mode": "x"}),
]


def encoded(value):
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, tuple):
        return {"tuple": [encoded(item) for item in value]}
    if isinstance(value, list):
        return [encoded(item) for item in value]
    return {k: encoded(v) for k, v in value.items()} if isinstance(value, dict) else value


def pickled(value):
    """The pickle inside what torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return base64.b64encode(archive.read(name)).decode()


def bits(tensor):
    return base64.b64encode(tensor.detach().contiguous().numpy().tobytes()).decode()


def parameters(only_matrix=False):
    weight = torch.nn.Parameter(torch.arange(33, dtype=torch.float32).reshape(3, 11) / 7 - 1)
    bias = torch.nn.Parameter(torch.tensor([0.5, -0.25, 1.5]))
    return [weight] if only_matrix else [weight, bias]


def gradient(param, step):
    """Exact in float32, and easy to repeat in another language."""
    values = torch.arange(param.numel(), dtype=torch.int64)
    return (((values * 37 + step * 11) % 64 - 30).to(torch.float32) / 32).reshape(param.shape)


def make(name, kwargs):
    kwargs = dict(kwargs)
    params = parameters(kwargs.pop("_only_matrix", False))
    return params, getattr(torch.optim, name)(params, **kwargs)


def optimizer_case(name, kwargs):
    params, optimizer = make(name, kwargs)
    case = {"name": name, "kwargs": encoded(kwargs), "fresh": pickled(optimizer.state_dict()), "repr": repr(optimizer)}
    if name in WITHOUT_STEP:
        return case
    for step in range(STEPS):
        for param in params:
            param.grad = gradient(param, step)
        optimizer.step()
    case["stepped"] = pickled(optimizer.state_dict())
    case["params"] = [bits(param) for param in params]
    case["state"] = [{key: bits(value) for key, value in optimizer.state[param].items()} for param in params]
    return case


def metric(epoch):
    """Falls, then stays, with ties."""
    return float(max(20 - epoch, 9) // 2)


def scheduler_of(name, kwargs, optimizer):
    if name == "SequentialLR":
        first = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        second = lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
        third = lr_scheduler.StepLR(optimizer, step_size=4)
        return lr_scheduler.SequentialLR(optimizer, [first, second, third], milestones=[10, 30])
    if name == "ChainedScheduler":
        return lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(optimizer, 0.1, 4), lr_scheduler.ExponentialLR(optimizer, 0.9)])
    kwargs = dict(kwargs)
    if "lr_lambda" in kwargs:
        kwargs["lr_lambda"] = lambda epoch: 1 / (1 + epoch)
    return getattr(lr_scheduler, name)(optimizer, **kwargs)


def scheduler_case(name, kwargs, optimizer_kwargs):
    weight, bias = parameters()
    groups = [{"params": [weight]}, {"params": [bias], "lr": 0.25}]
    optimizer = torch.optim.SGD(groups, **optimizer_kwargs)
    scheduler = scheduler_of(name, kwargs, optimizer)
    case = {"name": name, "kwargs": encoded(kwargs), "optimizer": encoded(optimizer_kwargs), "saved": {}}
    rates = []
    for epoch in range(EPOCHS + 1):
        if epoch in (0, 1, 25, EPOCHS):
            both = {"scheduler": scheduler.state_dict(), "optimizer": optimizer.state_dict()}
            case["saved"][str(epoch)] = pickled(both)
        rates += [float(rate) for rate in scheduler.get_last_lr()]
        if epoch == EPOCHS:
            break
        optimizer.step()
        scheduler.step(metric(epoch)) if name == "ReduceLROnPlateau" else scheduler.step()
    # By epoch and group, as doubles.
    case["rates"] = base64.b64encode(struct.pack(f"<{len(rates)}d", *rates)).decode()
    return case


def closed_form_case(name, kwargs):
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    scheduler = scheduler_of(name, kwargs, optimizer)
    rates = []
    for epoch in (3, 17, 30, 8):
        scheduler.step(epoch)
        rates.append(repr(float(scheduler.get_last_lr()[0])))
    return {"name": name, "kwargs": encoded(kwargs), "rates": rates, "saved": pickled(scheduler.state_dict())}


def error_case(name, kwargs):
    try:
        if hasattr(torch.optim, name):
            make(name, kwargs)
        else:
            getattr(lr_scheduler, name)(torch.optim.SGD(parameters(), lr=0.1), **kwargs)
    except Exception as error:
        text = error.args[0] if isinstance(error, KeyError) else str(error)
        return {"name": name, "kwargs": encoded(kwargs), "error": type(error).__name__, "text": text}
    raise AssertionError((name, kwargs))


def group_cases():
    weight, bias = parameters()
    named = torch.optim.AdamW([("w", weight), ("b", bias)])
    grouped = torch.optim.Adam([{"params": [weight], "lr": 1.0, "weight_decay": 0}, {"params": bias}], lr=1e-2)
    added = torch.optim.SGD([weight])
    added.add_param_group({"params": [bias], "momentum": 0.5, "note": "later"})
    nadams = {"g": torch.optim.NAdam([weight]).state_dict(), "d": torch.optim.NAdam([bias]).state_dict()}
    tensor_lr = torch.optim.SGD([weight], lr=torch.tensor(0.5))
    return {
        "named": pickled(named.state_dict()), "namedRepr": repr(named), "grouped": pickled(grouped.state_dict()), "groupedRepr": repr(grouped),
        "added": pickled(added.state_dict()), "twoNAdams": pickled(nadams), "tensorLr": pickled(tensor_lr.state_dict()),
    }


OPEN = [case for case in SCHEDULERS if case[0] not in ("ReduceLROnPlateau", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler", "CyclicLR")]
fixture = {
    "groups": [group_cases()],
    "optimizers": [optimizer_case(*case) for case in OPTIMIZERS],
    "schedulers": [scheduler_case(*case, {"lr": lr, "momentum": 0.9}) for lr in (0.1, 1) for case in SCHEDULERS],
    "closedForms": [closed_form_case(*case) for case in OPEN],
    "errors": [error_case(*case) for case in ERRORS],
}
# One case to a line.
parts = [f'"{key}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for key, cases in fixture.items()]
sys.stdout.write("{\n" + ",\n".join(parts) + "\n}\n")
