"""Files for the save tests, and the comparison of two files by the installed PyTorch.

  save.py make DIR [NAME] writes every case that this PyTorch can write, or those whose name begins so; prints one line of JSON for each
  save.py compare         reads lines of JSON {a, b, mmap?, weightsOnly?, tolerant?} and prints one line with the first difference for each
  save.py describe        reads lines of JSON {path, mmap?, weightsOnly?} and prints one line of JSON describing each value
  save.py zips            reads lines of JSON {path} and prints what zipfile's testzip says of each
"""
import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import json
import math
import os
import pathlib
import re
import struct
import sys
import types
import uuid
import warnings
import zipfile

import numpy as np
import torch
from torch import nn

warnings.filterwarnings('ignore')
torch.manual_seed(1)
OLD = torch.__version__.startswith('1.')
CASES = {}


def case(function=None, **kwargs):
    if function is None:
        return lambda function: case(function, **kwargs)
    CASES[function.__name__] = (function, kwargs)
    return function


def many(prefix, **kwargs):
    """A function that gives a dict of objects, one file for each."""

    def register(function):
        CASES[prefix] = (function, dict(kwargs, many=True))
        return function

    return register


# ---- classes of __main__


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 4)
        self.b = nn.Conv2d(2, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.act = nn.ReLU()
        self.again = self.a
        self.register_buffer('pos', torch.arange(5))
        self.register_buffer('tmp', torch.zeros(2), persistent=False)
        self.register_parameter('none', None)
        self.extra = {'lr': 1.0, 'n': 1, 'name': 'weight'}

    class Inner(nn.Module):
        pass


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    class Nested:
        x = 1


class Slots:
    __slots__ = ('x', 'y')


class SlotsAndDict(Slots):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyOrdered(collections.OrderedDict):
    pass


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyFloat(float):
    pass


class MyTuple(tuple):
    pass


class MySet(set):
    pass


class MyTensor(torch.Tensor):
    pass


class WithGetState:
    def __init__(self, x):
        self.x = x

    def __getstate__(self):
        return [self.x, 'state']

    def __setstate__(self, state):
        self.x = state[0]


class WithReduce:
    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return WithReduce, self.args


class WithNewArgsEx:
    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.given = (args, kwargs)
        return self

    def __getnewargs_ex__(self):
        return self.given


class WithNewArgs:
    def __new__(cls, *args):
        self = super().__new__(cls)
        self.given = args
        return self

    def __getnewargs__(self):
        return self.given


class Color(enum.Enum):
    RED = 1
    BLUE = 'blue'


class Flag(enum.IntFlag):
    A = 1
    B = 2


Point = collections.namedtuple('Point', 'x y')


class Typed(collections.namedtuple('Typed', 'a b c')):
    __slots__ = ()


@dataclasses.dataclass
class Config:
    lr: float = 1.0
    layers: list = dataclasses.field(default_factory=lambda: [1, 2])
    name: str = 'x'


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: int = 1
    b: tuple = (1.0, 2)


def function(x):
    return x


def hook(module, *args):
    return None


def fresh(text):
    """An equal string that is another object."""
    return ''.join([text[:1], text[1:]]) if len(text) > 1 else text


# ---- models


def filled(module):
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(torch.arange(p.numel(), dtype=p.dtype).reshape(p.shape) + i)
    return module


def models():
    tied = nn.ModuleDict({'emb': nn.Embedding(5, 3), 'out': nn.Linear(3, 5, bias=False)})
    tied['out'].weight = tied['emb'].weight
    shared = nn.Linear(2, 2)
    made = {
        'mlp': nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
        'conv': nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ConvTranspose2d(1, 1, 2), nn.GroupNorm(1, 2)),
        'lstm': nn.LSTM(3, 4, 2, bidirectional=True),
        'gru': nn.GRU(2, 3, batch_first=True),
        'attention': nn.MultiheadAttention(4, 2),
        'attention_kv': nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
        'encoder': nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2),
        'transformer': nn.Transformer(4, 2, 1, 1, 8),
        'tied': tied,
        'shared': nn.Sequential(shared, nn.Tanh(), shared),
        'net': Net(),
        'paramlist': nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3), requires_grad=False)]),
        'paramdict': nn.ParameterDict({'a': nn.Parameter(torch.ones(1)), 'b': nn.Parameter(torch.ones(2))}),
        'half': nn.Linear(2, 2).half(),
        'double': nn.Linear(2, 2).double(),
        'bf16': nn.LayerNorm(4).bfloat16(),
        'bag': nn.EmbeddingBag(4, 3, padding_idx=1),
        'bilinear': nn.Bilinear(2, 3, 1),
        'prelu': nn.PReLU(3),
        'losses': nn.ModuleList([nn.CrossEntropyLoss(weight=torch.ones(3)), nn.MSELoss(), nn.BCEWithLogitsLoss(pos_weight=torch.ones(2))]),
        'pools': nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d((1, None)), nn.AvgPool1d(2), nn.Flatten(), nn.Unflatten(1, (2, 2)), nn.Upsample(scale_factor=2), nn.Dropout(0.5), nn.Softmax(dim=-1), nn.GELU(), nn.PixelShuffle(2)),
        'weight_norm': torch.nn.utils.weight_norm(nn.Linear(2, 3)),
        'spectral': torch.nn.utils.spectral_norm(nn.Linear(2, 3)),
    }
    return {name: filled(module) if name not in ('spectral',) else module for name, module in made.items()}


@many('sd')
def state_dicts():
    return {name: module.state_dict() for name, module in models().items()}


@many('module')
def whole_modules():
    made = models()
    hooked = Net()
    hooked.register_forward_hook(hook)
    hooked.register_forward_pre_hook(hook)
    made['hooked'] = hooked
    made['inner'] = Net.Inner()
    made['list_of'] = [nn.Linear(1, 1), nn.Linear(1, 1)]
    made['lazy'] = nn.LazyLinear(3)
    made['training_bundle'] = {'model': made['net'], 'sd': made['net'].state_dict(), 'epoch': 3, 'losses': [1.0, 0.5, 2]}
    made['data_parallel_sd'] = collections.OrderedDict(('module.' + k, v) for k, v in made['mlp'].state_dict().items())
    return made


OPTIMIZERS = {
    'sgd': lambda p: torch.optim.SGD(p, lr=0.1),
    'sgd_momentum': lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-4),
    'adam': lambda p: torch.optim.Adam(p),
    'adam_amsgrad': lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True, weight_decay=1),
    'adamw': lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.1) if not OLD else 0.1),
    'adamax': lambda p: torch.optim.Adamax(p),
    'adagrad': lambda p: torch.optim.Adagrad(p),
    'adadelta': lambda p: torch.optim.Adadelta(p),
    'rmsprop': lambda p: torch.optim.RMSprop(p, momentum=0.5, centered=True),
    'rprop': lambda p: torch.optim.Rprop(p),
    'nadam': lambda p: torch.optim.NAdam(p),
    'radam': lambda p: torch.optim.RAdam(p),
    'asgd': lambda p: torch.optim.ASGD(p),
    'lbfgs': lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}
SCHEDULERS = {
    'step': lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
    'multistep': lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3, 3]),
    'cosine': lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    'warm': lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    'exponential': lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    'linear': lambda o: torch.optim.lr_scheduler.LinearLR(o),
    'constant': lambda o: torch.optim.lr_scheduler.ConstantLR(o),
    'polynomial': lambda o: torch.optim.lr_scheduler.PolynomialLR(o),
    'plateau': lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
    'onecycle': lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, 10),
    'cyclic': lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    'lambda': lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 0.5),
    'sequential': lambda o: torch.optim.lr_scheduler.SequentialLR(o, [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [2]),
    'chained': lambda o: torch.optim.lr_scheduler.ChainedScheduler([torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)]),
}


def trained(make, scheduler=None):
    model = filled(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    optimizer = make(model.parameters())
    schedule = scheduler(optimizer) if scheduler else None
    for _ in range(2):
        def closure():
            optimizer.zero_grad()
            loss = model(torch.ones(4, 2)).pow(2).mean() * 1e-3
            loss.backward()
            return loss
        closure()
        optimizer.step(closure)
        if schedule:
            schedule.step(1.0) if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau) else schedule.step()
    return model, optimizer, schedule


@many('optim')
def optimizers():
    made = {}
    for name, make in OPTIMIZERS.items():
        model, optimizer, _ = trained(make)
        made[name] = {'epoch': 1, 'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'loss': 0.25}
    model = filled(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    made['groups'] = torch.optim.Adam([{'params': model[0].parameters()}, {'params': model[1].parameters(), 'lr': 1}], lr=1e-2).state_dict()
    made['whole'] = trained(OPTIMIZERS['adam'])[1]
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(list(embedding.parameters()))
    embedding(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    made['sparse_adam'] = optimizer.state_dict()
    return made


@many('sched')
def schedulers():
    made = {}
    for name, make in SCHEDULERS.items():
        if OLD and name == 'polynomial' and not hasattr(torch.optim.lr_scheduler, 'PolynomialLR'):
            continue
        model, optimizer, schedule = trained(OPTIMIZERS['sgd_momentum'], make)
        made[name] = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'scheduler': schedule.state_dict()}
    made['whole'] = trained(OPTIMIZERS['adam'], SCHEDULERS['step'])[2]
    return made


# ---- containers


@case
def recursive():
    a, b, d = [], [1], {}
    a.append(a)
    t = (b, 'x')
    b.append(t)
    d['self'] = d
    d['a'] = a
    five = [None]
    t5 = (1, 2, 3, 4, five)
    five[0] = t5
    p = Plain()
    p.me = p
    p.list = [p, a]
    o = collections.OrderedDict()
    o['o'] = o
    dd = collections.defaultdict(list)
    dd['x'].append(dd)
    return [a, b, t, d, five, t5, p, o, dd]


class Knot:
    """Made from a list that it is in itself."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        return Knot, (self.items,), {'items': self.items, 'tied': True}


@many('knot', protocols=(2, 4))
def knots():
    """What is written on the way, before the call that makes it is complete."""
    counter = collections.Counter()
    counter[1] = [counter]
    knot = Knot([])
    knot.items.append(knot)
    made = {'counter': [counter, counter], 'object': {'a': knot, 'b': knot}}
    for name, kind in ('set', set), ('frozenset', frozenset):
        member, other = Plain(), Plain()
        member.home = kind([member])
        other.home = kind([other, 1.0])
        made[name] = [member.home, member]
        made[f'{name}_of_member'] = other
    return made


@case
def unions():
    return [int | str, int | None, list[int] | float, types.NoneType]


@case
def sets():
    return {'ints': {1, 2, 3, 1000}, 'empty': set(), 'frozen': frozenset([3, 1]), 'fempty': frozenset(), 'one': {5}, 'fone': frozenset([7]), 'tuples': {(1, 2)}, 'big': set(range(1000)), 'bigger': set(range(2001)), 'fbig': frozenset(range(1001)), 'thousand_and_one': set(range(1001)), 'floats': {1.0, 2.5}, 'sub': MySet([1, 2]), 'str': {'only'}, 'mixed': {None, True}}


@case
def collections_():
    d = collections.defaultdict(list, {'a': [1]})
    d2 = collections.defaultdict(int)
    d2['n'] += 1
    d3 = collections.defaultdict(None, {1: 2})
    od = collections.OrderedDict([('b', 1), ('a', 2)])
    od.note = 'attribute'
    od.number = 1.0
    return [d, d2, d3, collections.Counter('abracadabra'), collections.Counter(), collections.deque([1, 2, 3], maxlen=5), collections.deque(), collections.deque(range(1001)), od, Point(1, 2.0), Typed(1, (2,), 'c'), collections.ChainMap({'a': 1}, {'b': 2}), collections.UserDict({'k': 'v'}), types.SimpleNamespace(a=1, b=2.0), argparse.Namespace(lr=1.0, steps=10, name='n')]


@case
def objects():
    s = Slots()
    s.x, s.y = 1, 2.0
    s2 = SlotsAndDict()
    s2.x, s2.z = 'x', 'z'
    li = MyList([1, 2, 3])
    li.tag = 't'
    di = MyDict(a=1)
    di.tag = 't'
    od = MyOrdered(b=1, a=2.0)
    od.x = 1
    return [Plain(a=1, b=2.0, c='c', d=None), Plain(), s, s2, li, MyList(), MyList(range(1001)), di, MyDict(), MyDict((i, i) for i in range(1001)), od, MyInt(3), MyInt(2**70), MyStr('text'), MyFloat(1.0), MyTuple((1, 2)), Color.RED, Color.BLUE, Color.RED, Flag.A | Flag.B, WithGetState(5), WithReduce(1, 'two'), WithNewArgs(1, 2), Config(), Config(2, [], 'y'), Frozen(), Plain.Nested(), Plain.Nested, Color, Net, function, len, math.sqrt, dict.fromkeys, [].append]


@case(pickle_protocol=4)
def objects4():
    return [*objects(), WithNewArgsEx(1, a=2)]


@case
def kwargs_objects():
    return [WithNewArgsEx(1, a=2, b='x'), WithNewArgsEx(1)]


@case
def standard_library():
    return {'datetime': datetime.datetime(2024, 1, 2, 3, 4, 5, 6), 'utc': datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), 'date': datetime.date(2020, 2, 29), 'time': datetime.time(1, 2, 3), 'delta': datetime.timedelta(days=1, seconds=2), 'posix': pathlib.PurePosixPath('/a/b/c.txt'), 'windows': pathlib.PureWindowsPath('C:\\x'), 'path': pathlib.Path('rel/x'), 'decimal': decimal.Decimal('1.50'), 'fraction': fractions.Fraction(1, 3), 'uuid': uuid.UUID(int=5), 'range': range(1, 10, 2), 'slice': slice(1, None, 2), 'ellipsis': ..., 'notimpl': NotImplemented, 'complex': [1 + 2j, complex(0.0, -0.0), complex(float('nan'), 1)], 'regex': re.compile('a+'), 'exception': ValueError('bad', 1), 'types': [int, float, str, list, dict, bool, bytes, type(None), object, torch.nn.Linear, torch.Tensor, collections.OrderedDict, np.ndarray, type(...), complex, set, frozenset, range], 'functions': [torch.relu, torch.nn.functional.relu, len, isinstance, torch.optim.Adam]}


@case
def scalars():
    return {'ints': [0, 1, 255, 256, 65535, 65536, -1, -2**31, 2**31 - 1, 2**31, -2**31 - 1, 2**53, -2**53 - 1, 2**63, -2**63, 2**64, -2**39, 10**30, -10**100, 2**2039, 2**2040, -2**2047, 1 << 5000], 'floats': [0.0, -0.0, 1.0, -1.0, 0.1, 1e300, 5e-324, float('inf'), float('-inf'), float('nan'), -float('nan'), struct.unpack('<d', b'\x01\x00\x00\x00\x00\x00\xf8\x7f')[0], struct.unpack('<d', b'\xff\xff\xff\xff\xff\xff\xff\xff')[0], 2.0**53, 2.0**60, 1e22], 'mixed': [1, 1.0, True, 1, 1.0], 'bools': [True, False, None]}


@case
def number_keys():
    return {1: 'int', 2.0: 'float', 3.5: 'x', -1: 'm', 2**70: 'big', True + 5: 'six', None: 'n', (1, 2): 't', (1.0, 'a'): 'u', 0.0: 'z', b'k': 'bytes', float('inf'): 'i', frozenset([1]): 'f', 'd': {True: 1, False: 0}, 'fl': {1.0: 1, 2.0: 2.0, -0.0: 3}, 'b': {2**53: 1, 2.0**54: 2}}


@case
def negative_zero_key():
    return [{-0.0: 'm'}, {0: 'i'}, {0.0: 'f'}, {False: 'b'}, {float('nan'): 1}]


@case
def nan_keys():
    nan = lambda: float('nan')
    minus = struct.unpack('>d', bytes.fromhex('fff8000000000001'))[0]
    return [{nan(): 1, nan(): 2.0, minus: 'm'}, {nan(), nan(), minus, 1.0}, frozenset([minus, nan()]), collections.OrderedDict([(nan(), 1), (minus, 2)]), collections.Counter([nan(), nan(), 3])]


@case
def bool_and_int_keys():
    return [{True: 'a', 2: 'b'}, {1: 'a', 0: 'b'}, {1.0: 'a', 0: 'b'}, {False: 'c', 1: 'd'}]


@case
def byte_strings():
    b = b'shared'
    return [b'', b'a', b'\x00\xff\x80', bytes(range(256)), bytearray(), bytearray(b'x'), bytearray(b'xyz\xff'), b, b, bytes(bytearray(b'shared')), b'a' * 300, bytearray(b'y' * 70000), {'k': b'v'}]


@case
def texts():
    s = fresh('twice')
    return ['', 'a', 'é', '€', '😀', '\ud800', 'x\udfffy', '\u0000', 'line\nbreak', s, s, fresh('twice'), 'a', '0', '1', 'cpu', 'storage', 'weight', 'k' * 255, 'k' * 256, 'k' * 257, 'z' * 70000, torch.ones(1), '0', '1', fresh('cpu'), fresh('storage'), 'cpu', torch.ones(1), {'0': '0', '1': '1', 'a': 'a', 'é': 'é'}, {fresh('twice'): s, s + '': fresh('twice')}]


@case
def equal_strings():
    one, two = fresh('name'), fresh('name')
    return {'list': [one, two, one, two], 'tuple': (one, two), one: two, 'nested': {two: one, 'x': [two]}, 'set': {two}, 'obj': Plain(a=one, b=two, c=one), 'od': collections.OrderedDict([(two, one), ('name2', two)]), 'attr': Point(one, two)}


@case
def numbers_and_strings_everywhere():
    a, b = fresh('same'), fresh('same')
    li = MyList([1.0, 1, a, b])
    di = MyDict({a: 1.0, 2.0: b, 3: 2})
    od = MyOrdered({b: 1.0})
    od.f = 2.0
    od.g = a
    stateful = WithGetState(1.0)
    t = torch.ones(1)
    t.f, t.s = 1.0, b
    p = nn.Parameter(torch.ones(1))
    p.f, p.s = 1.0, b
    return [a, b, li, di, od, stateful, t, p, collections.deque([1.0, a, b]), collections.Counter({a: 1.0, 2.0: 2}), collections.OrderedDict([(1.0, 1.0), (b, a)]), collections.defaultdict(list, {1.0: b, a: 1.0}), {a, 1.0, 2}, frozenset([b, 3.0]), WithReduce(1.0, a, b, 1), WithNewArgs(2.0, b), np.array([1.0, 1, a, b], dtype=object), MyTuple((1.0, b)), Point(a, 1.0), types.SimpleNamespace(a=a, b=b, f=1.0), MyStr(b), MyFloat(2.0), slice(1.0, 2, a), complex(1.0, 2.0), Config(1, [1.0], b), [1.0, -0.0, 1], (-0.0, 0), MyInt(1), {-0.0}, ValueError(a, b, 1.0), collections.ChainMap({a: 1.0})]


@many('odd')
def odd_tensors():
    """Tensors with attributes, subclasses and Parameters of every kind."""
    i = torch.tensor([[0, 1], [1, 0]])
    made = {
        'sparse': torch.sparse_coo_tensor(i, torch.ones(2), (2, 2)),
        'quantized': torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
        'conj': torch.ones(2, dtype=torch.complex64).conj(),
        'meta': torch.empty(2, device='meta'),
        'view': torch.ones(3)[1:],
        'zero_dim': torch.tensor(1.0),
        'subclass': torch.ones(2).as_subclass(MyTensor),
    }
    for value in made.values():
        value.note = 'attribute'
    with_parameters = dict(made)
    for name, value in made.items():
        with_parameters[f'{name}_parameter'] = nn.Parameter(value.detach(), requires_grad=False)
    with_parameters['conj_parameter_grad'] = nn.Parameter(torch.ones(2, dtype=torch.complex64).conj())
    with_parameters['uninitialized'] = [nn.parameter.UninitializedParameter(), nn.parameter.UninitializedBuffer()]
    return {name: [value, 'after', value] for name, value in with_parameters.items()}


@case
def shared_objects():
    l, t, d, x = [1], (1, 2), {'a': 1}, torch.arange(4.0)
    p = nn.Parameter(x)
    betas = (0.9, 0.999)
    return {'l': [l, l], 't': [t, t, (1, 2), tuple([1, 2])], 'd': (d, d), 'x': [x, x, x[1:], x.view(2, 2), x.detach()], 'p': [p, p, p.data, x], 'betas': [betas, betas, tuple(list(betas))], 'size': [x.shape, x.shape], 'empty': [(), (), [], {}]}


@many('batch')
def batches():
    sizes = (2, 999, 1000, 1001, 1999, 2000, 2001)
    return {
        'dict': [{i: i for i in range(n)} for n in sizes],
        'ordered': [collections.OrderedDict((i, i) for i in range(n)) for n in sizes],
        'default': [collections.defaultdict(int, {i: i for i in range(n)}) for n in sizes],
        'counter': [collections.Counter({i: i for i in range(n)}) for n in sizes],
        'list': [list(range(n)) for n in sizes],
        'deque': [collections.deque(range(n)) for n in sizes],
        'sublist': [MyList(range(n)) for n in sizes],
        'subdict': [MyDict((i, i) for i in range(n)) for n in sizes],
        'set': [set(range(n)) for n in sizes],
        'frozenset': [frozenset(range(n)) for n in sizes],
        'tuple': [tuple(range(n)) for n in sizes],
        'attributes': [Plain(**{f'a{i}': i for i in range(n)}) for n in sizes],
    }


@many('batch4', pickle_protocol=4)
def batches4():
    return batches()


# ---- tensors

DTYPES = ['float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool', 'complex64', 'complex128', 'complex32', 'uint16', 'uint32', 'uint64', 'float8_e4m3fn', 'float8_e4m3fnuz', 'float8_e5m2', 'float8_e5m2fnuz', 'float8_e8m0fnu', 'float4_e2m1fn_x2', 'bits8', 'bits16', 'bits1x8', 'bits2x4', 'bits4x2']


def of_dtype(name, count=6):
    dtype = getattr(torch, name)
    raw = torch.arange(count * 16, dtype=torch.uint8)
    if name == 'bool':
        return torch.tensor([i % 2 == 0 for i in range(count)])
    itemsize = torch.empty(0, dtype=dtype).element_size()
    return raw[: count * itemsize].clone().view(dtype)


@case
def dtypes():
    made = {}
    for name in DTYPES:
        if not hasattr(torch, name):
            continue
        try:
            t = of_dtype(name)
            torch.save(t, io.BytesIO())
        except Exception:
            continue
        made[name] = [t, t[2:], t[0], t[:0], t.view(2, 3).t(), torch.empty((0, 3), dtype=getattr(torch, name)), t]
    made['objects'] = [getattr(torch, name) for name in ('float32', 'float64', 'int64', 'bool', 'bfloat16', 'complex64')]
    return made


@case
def shapes():
    x = torch.arange(24.0)
    return [torch.tensor(1.0), torch.tensor(3), torch.empty(0), torch.empty(0, 3), torch.empty(2, 0, 3), x.view(2, 3, 4), x.view(2, 3, 4).permute(2, 0, 1), x[5:9], x[::3], x.view(4, 6)[1:3, ::2], x[:1].expand(5), x[:1].expand(2, 5), x[3], x.as_strided((2, 2), (1, 1), 3), x.view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last), x.view(1, 1, 2, 3, 4), torch.ones(1, 1, 1, 1, 1, 1, 1), torch.rand(300)[290:], torch.zeros(70000, dtype=torch.uint8), torch.zeros(256, 257)[:, 1]]


@case
def gradients():
    p = nn.Parameter(torch.ones(2))
    q = nn.Parameter(torch.ones(2), requires_grad=False)
    x = torch.ones(3, requires_grad=True)
    y = torch.ones(2)
    y.note = 'attribute'
    y.shape_of = (2, 1.0)
    p2 = nn.Parameter(torch.zeros(1))
    p2.tag = 'tag'
    made = [p, q, x, y, p2, p, nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.arange(3), requires_grad=False)]
    if not OLD:
        made += [nn.Buffer(torch.ones(1)), nn.Buffer(torch.ones(1), persistent=False)]
    return made


@case
def subclasses():
    t = torch.ones(3).as_subclass(MyTensor)
    u = torch.ones(2).as_subclass(MyTensor)
    u.tag = 'x'
    return [t, u, t, t[1:], torch.ones(2).as_subclass(torch.Tensor)]


@case
def special_tensors():
    made = [torch.view_as_real(torch.tensor([1 + 2j])).clone(), torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j, 3j]).conj().imag, torch.tensor([1 + 2j]).conj()[0]]
    made += [torch.empty(2, 3, device='meta'), nn.Parameter(torch.empty(2, device='meta')), torch.empty(3, device='meta', dtype=torch.int8)]
    if hasattr(torch, 'int4'):
        made += [torch.empty(2, device='meta', dtype=torch.int4), torch.empty(2, device='meta', dtype=torch.uint1)]
    return made


@case
def conj_shared():
    x = torch.tensor([1 + 2j, 3 - 1j])
    return [x, x.conj(), x.imag, x.conj().imag, torch._neg_view(x)]


@case
def sparse():
    i = torch.tensor([[0, 1, 1], [2, 0, 2]])
    coo = torch.sparse_coo_tensor(i, torch.tensor([3.0, 4, 5]), (2, 3))
    made = [coo, coo.coalesce(), torch.sparse_coo_tensor(i, torch.ones(3, 2), (2, 3, 2)), torch.sparse_coo_tensor((2, 2)), coo]
    dense = torch.tensor([[1.0, 0], [0, 2]])
    made.append(dense.to_sparse_csr())
    made.append(dense.double().to_sparse_csr())
    if not OLD:
        made += [dense.to_sparse_csc(), dense.to_sparse_bsr((1, 1)), dense.to_sparse_bsc((2, 1)), coo.requires_grad_()]
    return made


@case
def quantized():
    x = torch.arange(6.0).view(2, 3)
    made = [torch.quantize_per_tensor(x, 0.5, 2, dtype) for dtype in (torch.qint8, torch.quint8, torch.qint32)]
    made.append(torch.quantize_per_channel(x, torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8))
    made.append(torch.quantize_per_channel(x, torch.tensor([0.1, 0.2, 1.0]), torch.tensor([0, 1, 3]), 1, torch.quint8))
    made.append(made[0][1])
    made.append(torch.quantize_per_channel(x, torch.tensor([0.1, 0.2]), torch.tensor([0.0, 1.0]), 0, torch.quint8))
    return made


@case
def quint4x2():
    x = torch.arange(8.0).view(2, 4)
    return [torch.quantize_per_channel(x, torch.tensor([0.1, 0.2]), torch.tensor([0.0, 1.0]), 0, torch.quint4x2)]


@case
def nested():
    return [torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(4, 3)]), torch.nested.nested_tensor([torch.ones(1)], dtype=torch.float64)]


@case
def jagged():
    return torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(4, 3)], layout=torch.jagged)


@case
def storages():
    x = torch.arange(4.0)
    made = [x.storage(), x.storage()]
    if not OLD:
        made += [x.untyped_storage()]
    return made


@case
def untyped_storage():
    x = torch.arange(4, dtype=torch.uint8)
    return [x.untyped_storage() if not OLD else x.storage(), x]


@case
def torch_objects():
    made = [torch.float32, torch.float64, torch.device('cpu'), torch.device('cuda:1'), torch.device('cuda'), torch.device('meta'), torch.strided, torch.sparse_coo, torch.Size([2, 3]), torch.Size([]), torch.Size([1]), torch.Size([1, 2, 3, 4]), torch.per_tensor_affine, torch.per_channel_affine]
    s = torch.Size([5])
    d = torch.device('cpu')
    return made + [s, s, d, d, 'cpu', 'cuda']


@case
def generator():
    return {'rng': torch.get_rng_state(), 'numpy': np.random.RandomState(3).get_state()}


@case
def finfo():
    return [torch.finfo(torch.float32).max, float(torch.finfo(torch.float16).eps)]


@case
def more_than_a_hundred():
    return [torch.full((i % 5,), float(i)) for i in range(230)]


@case
def mixed_storages():
    return {f'layer{i}.w': torch.full((i,), i, dtype=torch.int64 if i % 2 else torch.float32) for i in range(12)}


@case
def descriptor_like():
    return [torch.tensor([0x50, 0x4B, 7, 8, 1, 2, 3, 4, 5], dtype=torch.uint8), torch.tensor([0x50, 0x4B, 7, 8], dtype=torch.uint8), torch.tensor([0x50, 0x4B, 7, 8, 0, 0, 0, 0], dtype=torch.uint8), torch.cat([torch.tensor([0x50, 0x4B, 7, 8, 9, 9, 9, 9], dtype=torch.uint8), torch.zeros(100000, dtype=torch.uint8)])]


# ---- numpy


@case
def numpy_arrays():
    made = [np.arange(6, dtype=d).reshape(2, 3) for d in ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', '>f4', '>i8', '>u2', '<c8', 'c16', '>c16')]
    made += [np.array([True, False]), np.array(['ab', 'c']), np.array([b'ab', b'c']), np.array('2024-01-01', dtype='M8[D]'), np.array([1, 2], dtype='m8[s]'), np.array([], dtype='f4'), np.array(3.0), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(10)[::2], np.arange(6.0).reshape(2, 3).T]
    made += [np.array([1, 'x', None, [2]], dtype=object), np.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f8')]), np.array([(1, (2.0, 3))], dtype=[('a', 'i4'), ('b', [('c', 'f8'), ('d', 'i2')])]), np.zeros(3, dtype='V5'), np.array([(1, [2, 3])], dtype=[('a', 'i4'), ('b', 'i2', (2,))])]
    if hasattr(getattr(np, 'dtypes', None), 'StringDType'):
        made += [np.array(['a', 'bcd'], dtype=np.dtypes.StringDType()), np.dtypes.StringDType(na_object=None)]
    a = np.arange(3.0)
    return made + [a, a, np.ma.masked_array([1, 2], mask=[True, False]), np.matrix([[1, 2]])]


@case
def numpy_scalars():
    made = [np.dtype(d).type(1) for d in ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', 'c8', 'c16', '?')]
    made += [np.str_('x'), np.bytes_(b'y'), np.datetime64('2024-01-01'), np.timedelta64(3, 's'), np.float64('nan'), np.float64(1.0), np.float64(1.0)]
    return made + [np.dtype('f4'), np.dtype('>i2'), np.dtype([('a', 'i4')]), np.dtype('U3'), np.float32, np.int64]


@many('np_protocol', protocols=(3, 4, 5))
def numpy_protocols():
    return {'np': [numpy_arrays(), numpy_scalars()]}


@case
def numpy_generator():
    return [np.random.default_rng(3), np.random.RandomState(3)]


# ---- protocols and options


def everything():
    return {'sd': nn.Linear(2, 2).state_dict(), 'strings': texts(), 'bytes': byte_strings(), 'scalars': scalars(), 'sets': sets(), 'shared': shared_objects(), 'equal': equal_strings(), 'objects': objects(), 'more': collections_(), 'keys': number_keys(), 'rec': recursive(), 'std': standard_library(), 'torch': torch_objects(), 'grad': gradients(), 'sparse': sparse(), 'q': quantized(), 'np': numpy_arrays()}


@many('protocol', protocols=(2, 3, 4, 5))
def protocols():
    return {'all': everything(), 'module': Net(), 'tensor': torch.arange(3.0), 'small': [1], 'int': 5, 'none': None, 'text': 'x'}


@many('frames', protocols=(4, 5))
def frames():
    big = 'f' * 65536
    return {
        'strings': [big, 'f' * 65535, 'f' * 65537, 'f' * 200000, big],
        'bytes': [b'g' * 65536, b'g' * 65535, b'g' * 200000, bytearray(b'g' * 70000)],
        'ints': list(range(40000)),
        'dict': {f'key{i}': i for i in range(20000)},
        'edge': ['x' * n for n in range(65500, 65560, 7)],
        'ends': ['y' * 65530, 1],
        'tensors': [torch.full((2,), float(i)) for i in range(1500)],
        'first': 'h' * 70000,
        'tiny_after': ['h' * 70000, 'h' * 70000, 3],
    }


@case(_use_new_zipfile_serialization=True, pickle_protocol=2)
def explicit_protocol():
    return {'a': torch.ones(2)}


def write_special(directory, report):
    """Cases that are about how torch.save is called."""
    value = {'w': torch.arange(6.0), 'e': torch.empty(0), 'n': 1, 'f': 1.0}

    def put(name, write):
        path = os.path.join(directory, name)
        try:
            write(path)
            report(name, path)
        except Exception as error:
            report(name, None, error)

    def to_buffer(path):
        with open(path, 'wb') as f:
            torch.save(value, f)

    put('filelike.pt', to_buffer)
    put('ünïcode.pt', lambda path: torch.save(value, path))
    put('two.dots.pth.tar', lambda path: torch.save(value, path))
    put('noextension', lambda path: torch.save(value, path))
    put('back\\slash.pt', lambda path: torch.save(value, path))
    from torch.serialization import register_package, _package_registry

    fake = set()
    register_package(1, lambda s: 'cuda:' + str(len([s])) if s.data_ptr() in fake and s.nbytes() else None, lambda s, location: s if location.startswith('cuda') else None)

    def tagged(path):
        keep = [torch.full((3,), float(i)) for i in range(3)]
        for t in keep:
            fake.add(t.data_ptr())
        torch.save({'a': keep[0], 'b': keep[1:], 'view': keep[0][1:], 'cpu': 'cpu', 'c': 'cuda:1', 'on_cpu': torch.ones(1)}, path)
        fake.clear()

    put('tagged.pt', tagged)
    if OLD:
        return

    def no_crc(path):
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(value, path)
        finally:
            torch.serialization.set_crc32_options(True)

    put('nocrc.pt', no_crc)
    try:
        from torch.utils.serialization import config
    except ImportError:
        return
    for alignment in (1, 8, 4096, 16384):
        def aligned(path):
            old = config.save.storage_alignment
            config.save.storage_alignment = alignment
            try:
                torch.save(value, path)
            finally:
                config.save.storage_alignment = old
        put(f'align{alignment}.pt', aligned)

    def skipped(path):
        with torch.serialization.skip_data():
            torch.save(value, path)

    put('skipdata.pt', skipped)


def make(directory, only=''):
    os.makedirs(directory, exist_ok=True)

    def report(name, path, error=None):
        print(json.dumps({'name': name, 'path': path, 'error': f'{type(error).__name__}: {error}'[:200] if error else None}), flush=True)

    def write(name, value, kwargs):
        path = os.path.join(directory, f'{name}.pt')
        try:
            torch.save(value, path, **kwargs)
            report(name, path)
        except Exception as error:
            if os.path.exists(path):
                os.remove(path)
            report(name, None, error)

    for name, (function, options) in CASES.items():
        if not name.startswith(only):
            continue
        options = dict(options)
        is_many = options.pop('many', False)
        protocols = options.pop('protocols', (options.pop('pickle_protocol', 2),))
        try:
            values = function()
        except Exception as error:
            report(name, None, error)
            continue
        for protocol in protocols:
            suffix = '' if protocol == 2 else f'_p{protocol}'
            for part, value in (values.items() if is_many else [(None, values)]):
                write(f'{name}{f"_{part}" if part else ""}{suffix}', value, dict(options, pickle_protocol=protocol))
    if not only:
        write_special(directory, report)


# ---- comparing


class Difference(Exception):
    pass


class Comparison:
    """Walks two graphs side by side: equal values and types, and the same sharing of objects and of memory."""

    def __init__(self, tolerant):
        self.tolerant = tolerant
        self.pairs = {}
        self.memory = {}
        self.keep = []

    def fail(self, path, what, a, b):
        raise Difference(f'{path or "root"}: {what}: {str(a)[:80]} and {str(b)[:80]}')

    def paired(self, table, path, what, a, b):
        if table.setdefault(('a', a), b) != b or table.setdefault(('b', b), a) != a:
            self.fail(path, f'{what} is shared differently', a, b)

    def run(self, a, b):
        stack = [('', a, b)]
        while stack:
            path, a, b = stack.pop()
            if type(a) is not type(b) and not (isinstance(a, torch.Tensor) and self.tolerant):
                self.fail(path, 'types differ', type(a), type(b))
            if isinstance(a, types.BuiltinFunctionType) and not isinstance(a.__self__, (types.ModuleType, type(None))):
                stack += [(f'{path}.__self__', a.__self__, b.__self__), (f'{path}.__name__', a.__name__, b.__name__)]
                continue
            if a is None or isinstance(a, (bool, int, str, bytes, type, torch.dtype, torch.device, torch.layout, types.FunctionType, types.BuiltinFunctionType, enum.Enum)):
                if type(a).__eq__(a, b) is not True:
                    self.fail(path, 'values differ', a, b)
                if type(a) in (type(None), bool, int, str, bytes) or not hasattr(a, '__dict__') or isinstance(a, (type, types.FunctionType, types.BuiltinFunctionType, enum.Enum, torch.device, torch.dtype, torch.layout)):
                    continue
            if isinstance(a, float):
                if struct.pack('<d', a) != struct.pack('<d', b):
                    self.fail(path, 'values differ', a, b)
                if type(a) is float:
                    continue
            seen = ('a', id(a)) in self.pairs
            if not (isinstance(a, (tuple, frozenset)) and len(a) == 0):
                self.paired(self.pairs, path, type(a).__name__, id(a), id(b))
            self.keep.append((a, b))
            if seen:
                continue
            stack.extend(self.children(path, a, b))

    def children(self, path, a, b):
        if isinstance(a, torch.Tensor):
            return self.tensor(path, a, b)
        if isinstance(a, torch.UntypedStorage):
            self.paired(self.memory, path, 'memory', a.data_ptr(), b.data_ptr())
            if bytes(a) != bytes(b):
                self.fail(path, 'storages differ', a, b)
            return []
        if isinstance(a, torch.storage.TypedStorage):
            return [(path, untyped(a), untyped(b)), (path + '.dtype', a.dtype, b.dtype)]
        if isinstance(a, torch.Generator):
            return [(path, a.get_state(), b.get_state())]
        if isinstance(a, np.generic):
            if a.dtype != b.dtype or a.tobytes() != b.tobytes():
                self.fail(path, 'numpy scalars differ', a, b)
            return []
        if isinstance(a, np.ndarray):
            if a.dtype != b.dtype or a.shape != b.shape or a.flags.f_contiguous != b.flags.f_contiguous:
                self.fail(path, 'numpy arrays differ', a, b)
            if a.dtype == object:
                return [(path, a.ravel().tolist(), b.ravel().tolist())]
            if a.tobytes() != b.tobytes():
                self.fail(path, 'numpy arrays differ', a, b)
            return []
        found = []
        if isinstance(a, dict):
            if len(a) != len(b):
                self.fail(path, 'lengths differ', len(a), len(b))
            for (ka, va), (kb, vb) in zip(list(dict.items(a)), list(dict.items(b))):
                found += [(f'{path}<key>', ka, kb), (f'{path}.{str(ka)[:40]}', va, vb)]
        elif isinstance(a, (list, tuple, collections.deque)):
            if len(a) != len(b):
                self.fail(path, 'lengths differ', len(a), len(b))
            found += [(f'{path}[{i}]', x, y) for i, (x, y) in enumerate(zip(a, b))]
            if isinstance(a, collections.deque) and a.maxlen != b.maxlen:
                self.fail(path, 'maxlen differs', a.maxlen, b.maxlen)
        elif isinstance(a, (set, frozenset)):
            # A NaN and an object without an equality of its own are equal to nothing else: they are paired and walked.
            unequal = [[x for x in one if x not in other] for one, other in ((a, b), (b, a))]
            pairs = list(zip(*(sorted(some, key=in_set) for some in unequal)))
            if len(a) != len(b) or sorted(map(in_set, a)) != sorted(map(in_set, b)) or not all(type(x) in (float, Plain) for x, _ in pairs):
                self.fail(path, 'sets differ', a, b)
            found += [(f'{path}{{}}', x, y) for x, y in pairs]
        elif isinstance(a, bytearray):
            if a != b:
                self.fail(path, 'bytearrays differ', a, b)
        if isinstance(a, collections.defaultdict):
            found.append((f'{path}.default_factory', a.default_factory, b.default_factory))
        state = getattr(a, '__dict__', None)
        if isinstance(state, dict):
            found.append((f'{path}.__dict__', dict(state), dict(b.__dict__)))
        if state is None and not found and not isinstance(a, (list, tuple, dict, set, frozenset, bytearray, collections.deque)):
            if repr(a) != repr(b) and not hasattr(type(a), '__slots__') and ' at 0x' not in repr(a):
                self.fail(path, 'objects differ', a, b)
        for name in getattr(type(a), '__slots__', ()) or ():
            if isinstance(name, str) and name != '__dict__' and hasattr(a, name) and not name.startswith('__'):
                found.append((f'{path}.{name}', getattr(a, name), getattr(b, name)))
        return found

    def tensor(self, path, a, b):
        if type(a).__name__.startswith('Uninitialized'):
            return [(f'{path}.requires_grad', a.requires_grad, b.requires_grad)]
        if a.is_nested:
            return [(f'{path}[{i}]', x, y) for i, (x, y) in enumerate(zip(a.unbind(), b.unbind()))]
        for name in ('dtype', 'shape', 'layout', 'device', 'requires_grad', 'is_nested', 'is_quantized'):
            if getattr(a, name) != getattr(b, name):
                self.fail(path, f'{name} differs', getattr(a, name), getattr(b, name))
        found = []
        attributes = getattr(a, '__dict__', None)
        if attributes:
            found.append((f'{path}.__dict__', dict(attributes), dict(b.__dict__)))
        if a.layout == torch.sparse_coo:
            if a.is_coalesced() != b.is_coalesced() and not self.tolerant:
                self.fail(path, 'is_coalesced differs', a.is_coalesced(), b.is_coalesced())
            return found + [(f'{path}.indices', a._indices(), b._indices()), (f'{path}.values', a._values(), b._values())]
        if a.layout != torch.strided:
            names = ('crow_indices', 'col_indices') if a.layout in (torch.sparse_csr, getattr(torch, 'sparse_bsr', None)) else ('ccol_indices', 'row_indices')
            return found + [(f'{path}.{name}', getattr(a, name)(), getattr(b, name)()) for name in (*names, 'values')]
        if a.stride() != b.stride():
            self.fail(path, 'stride differs', a.stride(), b.stride())
        if a.device.type == 'meta':
            return found
        for name in ('storage_offset', 'is_conj', 'is_neg'):
            if not self.tolerant and getattr(a, name)() != getattr(b, name)():
                self.fail(path, f'{name} differs', getattr(a, name)(), getattr(b, name)())
        if a.is_quantized:
            if a.qscheme() == torch.per_tensor_affine:
                if (a.q_scale(), a.q_zero_point()) != (b.q_scale(), b.q_zero_point()):
                    self.fail(path, 'quantizer differs', a, b)
            else:
                found += [(f'{path}.scales', a.q_per_channel_scales(), b.q_per_channel_scales()), (f'{path}.zero_points', a.q_per_channel_zero_points(), b.q_per_channel_zero_points())]
            if not self.same(a.dequantize(), b.dequantize()):
                self.fail(path, 'values differ', a, b)
            return found
        if a.numel() and untyped(a).data_ptr():
            self.paired(self.memory, path, 'memory', untyped(a).data_ptr(), untyped(b).data_ptr())
            if not self.tolerant and untyped(a).nbytes() != untyped(b).nbytes():
                self.fail(path, 'storage size differs', untyped(a).nbytes(), untyped(b).nbytes())
        if not self.same(a, b):
            self.fail(path, 'values differ', a, b)
        return found

    @staticmethod
    def same(a, b):
        return elements(a) == elements(b)


def in_set(x):
    """What members of two sets are ordered by: a text that says all but where an object is in memory."""
    return struct.pack('>d', x).hex() if isinstance(x, float) else type(x).__name__ if isinstance(x, Plain) else repr(x)


def untyped(x):
    if OLD:
        storage = x.storage() if isinstance(x, torch.Tensor) else x
        return storage._untyped() if hasattr(storage, '_untyped') else storage.untyped()
    return x.untyped_storage() if isinstance(x, torch.Tensor) else x._untyped_storage


def elements(x):
    """The bytes of the elements in C order."""
    x = x.detach()
    if type(x) is not torch.Tensor:
        x = x.as_subclass(torch.Tensor)
    x = x.resolve_conj().resolve_neg()
    if x.numel() == 0:
        return b''
    # Not every dtype can be copied: gather bytes by index.
    size = x.element_size()
    raw = np.frombuffer(bytes(untyped(x)), dtype=np.uint8)
    index = torch.zeros(x.shape, dtype=torch.int64) + x.storage_offset()
    for d, (n, step) in enumerate(zip(x.shape, x.stride())):
        shape = [1] * x.dim()
        shape[d] = n
        index = index + (torch.arange(n) * step).view(shape)
    at = index.reshape(-1).numpy()[:, None] * size + np.arange(size)
    return raw[at].tobytes()


def read(path, mmap=False, weightsOnly=False):
    arguments = {'map_location': None}
    if mmap:
        arguments['mmap'] = True
    if not OLD or weightsOnly:
        arguments['weights_only'] = bool(weightsOnly)
    return torch.load(path, **arguments)


def compare(request):
    options = {k: request[k] for k in ('mmap', 'weightsOnly') if k in request}
    try:
        a, b = read(request['a']), read(request['b'], **options)
        Comparison(request.get('tolerant', False)).run(a, b)
        return None
    except Difference as difference:
        return str(difference)
    except Exception as error:
        return f'{type(error).__name__}: {error}'[:600]


def described(value, storages):
    """JSON that tells types apart; floats as hex, tensors with stride and the number of their memory."""
    def go(x):
        return described(x, storages)
    if isinstance(value, torch.Tensor):
        number = storages.setdefault(untyped(value).data_ptr(), len(storages)) if value.numel() else None
        return {'tensor': str(value.dtype)[6:], 'shape': list(value.shape), 'stride': list(value.stride()), 'offset': value.storage_offset(), 'grad': value.requires_grad, 'parameter': isinstance(value, nn.Parameter), 'memory': number, 'hex': elements(value).hex()}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return {'float': value.hex()}
    if isinstance(value, int):
        return {'int': str(value)}
    if isinstance(value, (bytes, bytearray)):
        return {type(value).__name__: value.hex()}
    if isinstance(value, dict):
        return {type(value).__name__: [[go(k), go(v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [go(x) for x in value]}
    if isinstance(value, (set, frozenset)):
        return {type(value).__name__: sorted((go(x) for x in value), key=str)}
    return {'repr': repr(value)}


def describe(request):
    options = {k: request[k] for k in ('mmap', 'weightsOnly') if k in request}
    try:
        return described(read(request['path'], **options), {})
    except Exception as error:
        return {'error': f'{type(error).__name__}: {error}'[:600]}


def serve(answer):
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == '__main__':
    sys.setrecursionlimit(20000)
    command, *rest = sys.argv[1:]
    if command == 'make':
        make(*rest)
    else:
        serve({'compare': compare, 'describe': describe, 'zips': lambda request: zipfile.ZipFile(request['path']).testzip()}[command])
