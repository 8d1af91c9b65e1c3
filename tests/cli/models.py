"""Model files for the command line, as text: each is written to a folder of its own."""

PREAMBLE = """\
import torch
from torch import nn
"""

# One op that MLX takes, one that it cannot (float64), in two layers.
MIXED = (
    PREAMBLE
    + """
class Layer(nn.Module):
    def forward(self, x):
        y = torch.cos(x)
        return y.double().tanh().float()

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, x):
        print("the model prints")
        for layer in self.layers:
            x = layer(x)
        return x

model = Model()
example_inputs = (torch.ones(2, 3),)
"""
)

SUPPORTED = (
    PREAMBLE
    + """
class Cosine(nn.Module):
    def forward(self, x):
        return torch.cos(x) + x

def get_model():
    return Cosine(), (torch.linspace(-3, 3, 6),)

model_without_inputs = Cosine()
number = 3
methods = {"first": (Cosine(), (torch.ones(2),)), "second": (Cosine(), (torch.ones(3),))}

def needs_arguments(size):
    return Cosine(), (torch.ones(size),)

class Identity(nn.Module):
    def forward(self, x):
        return x

def identity():
    return Identity(), (torch.ones(2),)

class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x

def branch():
    return Branch(), (torch.ones(2),)

def misfit():
    return nn.Linear(3, 3), (torch.ones(2, 5),)

class Gamma(nn.Module):
    def forward(self, x):
        return torch.lgamma(x) + 1

def gamma():
    return Gamma(), (torch.ones(2),)

class Fixed(nn.Module):
    def forward(self, x):
        return x + torch.ones(2)

def fixed():
    return Fixed(), (torch.ones(2),), {}, ({0: torch.export.Dim("n", min=1, max=8)},)

class Leaving(nn.Module):
    def forward(self, x):
        raise SystemExit(7)

def leaves():
    return Leaving(), (torch.ones(3),)

def training():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (torch.ones(1, 3, 8, 8),)

def raises():
    raise RuntimeError("no such checkpoint")

exported = torch.export.export(Cosine(), (torch.ones(2),))

def on_meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(4096, 65536), nn.ReLU()), (torch.ones(2, 4096),)
"""
)

# Multiplies its input by a constant; both come from a file, in the layouts they have there.
SCALE = (
    PREAMBLE
    + """
class Scale(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x):
        return x * self.weights

def get_model():
    weights, x = torch.load("parts.pt")
    return Scale(weights), (x,)
"""
)

# Unusual inputs and outputs, each run and compared.
INTERFACES = (
    PREAMBLE
    + """
class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)

def no_dimensions():
    return Apply(lambda x: (x * 2, x.sum())), (torch.tensor(3.0),)

def numbers():
    return Apply(lambda x, n, f, b: (x * f + n, n) if b else x), (torch.ones(3), 4, 2.5, True)

def written_input():
    return Apply(lambda x: x.mul_(2) + 1), (torch.ones(3),)

def wide():
    return nn.Sequential(nn.Linear(8, 4), nn.Sigmoid()).double(), (torch.randn(2, 8).double(),)

def random():
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout()), (torch.ones(2, 4),)

def positions():
    return Apply(torch.nonzero), (torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]),)

def remainders():
    return Apply(lambda x: x % 2), (torch.tensor([7, -7]),)

class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
        self.net.to(torch.bfloat16)

    def forward(self, x):
        return self.net(x.bfloat16()).float().flatten(1).softmax(1)

def halves():
    torch.manual_seed(0)
    return Halves(), (torch.randn(2, 3, 32, 32),)

class Rows(nn.Module):
    def forward(self, x):
        return x.cos() * 2

def rows():
    return Rows(), (torch.arange(6.0).view(3, 2),), {}, ({0: torch.export.Dim("n", min=0, max=9)},)

def otherwise():
    return Apply(lambda x: x + 1 if torch.compiler.is_exporting() else x), (torch.ones(3),)

def transposed():
    return Apply(lambda x: x.cos()), (torch.ones(3, 4).t(),)
"""
)

BROKEN = PREAMBLE + "raise ValueError('the weights are missing')\n"
EMPTY = "answer = 42\n"
