"""A small training for optim.test.ts: stopped and saved, and resumed from a file.

    python optim-training.py train NAME FOLDER   losses of the whole run; ck.pt after STOP steps, and the next gradients
    python optim-training.py resume NAME FILE... losses of each file, from the step that it is at
"""

import json
import sys

import torch

STOP, TOTAL = 7, 20
torch.set_num_threads(1)

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.8, 0.95)),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.01),
}
SCHEDULERS = {
    "sgd": lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=4, gamma=0.5),
    "adam": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=TOTAL),
    "adamw": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.05, total_steps=TOTAL),
    "rmsprop": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=[3, 9, 9]),
    "adagrad": lambda o: torch.optim.lr_scheduler.LinearLR(o, total_iters=12),
}


def begin(name):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = OPTIMIZERS[name](model.parameters())
    return model, optimizer, SCHEDULERS[name](optimizer)


def backward(model, optimizer, step):
    """Every step has data of its own, so that a resumed run sees the same."""
    generator = torch.Generator().manual_seed(1000 + step)
    inputs = torch.randn(32, 5, generator=generator)
    loss = torch.nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True).sin())
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def run(model, optimizer, scheduler, start, stop):
    losses = []
    for step in range(start, stop):
        losses.append(backward(model, optimizer, step).hex())
        optimizer.step()
        scheduler.step()
    return losses


def save(model, optimizer, scheduler, epoch, file):
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "epoch": epoch}, file)


def resume(name, file):
    model, optimizer, scheduler = begin(name)
    checkpoint = torch.load(file, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    return run(model, optimizer, scheduler, checkpoint["epoch"], TOTAL)


command, name, *paths = sys.argv[1:]
if command == "train":
    [path] = paths
    model, optimizer, scheduler = begin(name)
    losses = run(model, optimizer, scheduler, 0, STOP)
    save(model, optimizer, scheduler, STOP, f"{path}/ck.pt")
    backward(model, optimizer, STOP)
    torch.save([param.grad for param in model.parameters()], f"{path}/gradients.pt")
    print(json.dumps(losses + run(model, optimizer, scheduler, STOP, TOTAL)))
else:
    print(json.dumps([resume(name, file) for file in paths]))
