"""What each reason means at length, with an example: `mlx-coverage explain`, and its page.

An example is a model file as `mlx-coverage check` takes it. A test checks each one, and
its better form, by the planner itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_coverage.registry import reasons
from mlx_coverage.registry.reasons import ReasonKind


@dataclass(frozen=True)
class Example:
    """A model that falls back for a reason, and how it comes to run on MLX.

    Attributes:
        forward: the lines of the model's `forward(self, x)`.
        inputs: the expression of `x`.
        better: lines that do the same and do not fall back; empty where there are none.
        options: arguments of `mlx-coverage check` that the reason needs.
        dynamic: whether the first size of `x` is dynamic.
        definitions: what stands before the class.
    """

    forward: str
    inputs: str = "torch.ones(4, 6)"
    better: str = ""
    options: str = ""
    dynamic: bool = False
    definitions: str = ""

    def write(self, better: bool = False) -> str:
        """The model file."""
        lines = (self.better if better else self.forward).split("\n")
        body = "".join(f"        {line}\n" for line in lines)
        sizes = 'dynamic_shapes = ({0: torch.export.Dim("n", min=2)},)\n' if self.dynamic else ""
        head = "" if better else self.definitions
        return (
            f"import torch\n\n\n{head}"
            "class Model(torch.nn.Module):\n    def forward(self, x):\n"
            f"{body}\n\nmodel = Model()\nexample_inputs = ({self.inputs},)\n{sizes}"
        )


@dataclass(frozen=True)
class Explanation:
    """A reason at length.

    Attributes:
        meaning: when it is given, and what follows from it.
        example: a model that shows it; None where it takes more than a model file.
        hint: what to do in such a case, where no example can show it.
    """

    meaning: str
    example: Example | None = None
    hint: str = ""


EXPLANATIONS: Mapping[ReasonKind, Explanation] = {
    reasons.OTHER_DELEGATE: Explanation(
        "ExecuTorch asks the partitioners in the order of its list, and the first one that "
        "tags a node keeps it. The node runs in that delegate and not on MLX.",
        hint="Order them: `partitioner=[MLXPartitioner(), XnnpackPartitioner()]`.",
    ),
    reasons.EXCLUDED: Explanation(
        "The node was kept off the delegate on purpose: by `--exclude`, by `exclude` in "
        "pyproject.toml, or by `exclude_ops` or `exclude_node` of `MLXPartitioner`.",
        Example("return torch.cos(x) + 1", options="--exclude aten.cos.default"),
    ),
    reasons.HIGHER_ORDER: Explanation(
        "`torch.cond`, `while_loop`, `map` and `scan` choose at run time what is computed. An "
        "MLX graph is built before it is evaluated, so ExecuTorch keeps the choice, and the "
        "branches are programs of their own.",
        Example(
            "return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))",
            better="return torch.where(x.sum() > 0, x + 1, x - 1)",
        ),
    ),
    reasons.RANDOM: Explanation(
        "The numbers come from torch's generator. MLX has another one, so the same seed would "
        "give other numbers, and a comparison with eager torch would mean nothing.",
        Example("return x + torch.rand(4, 6)"),
        hint="Make the random tensor outside and pass it as an input.",
    ),
    reasons.DATA_DEPENDENT: Explanation(
        "How many elements come out is known only once the values are. MLX needs every size "
        "when it builds its graph, before anything is computed.",
        Example(
            "return torch.nonzero(x > 0).sum()",
            better="rows, columns = torch.arange(4)[:, None], torch.arange(6)\n"
            "return torch.where(x > 0, rows + columns, 0).sum()",
        ),
    ),
    reasons.MUTATION: Explanation(
        "The op writes into one of its inputs. `torch.export` turns the mutations of ATen ops "
        "and of buffers into functional ones by itself, so this is what remains: mostly custom "
        "ops that declare a mutated argument.",
        hint="Register a functional variant of the custom op, and call it in `forward`.",
    ),
    reasons.KNOWN_GAP: Explanation(
        "The registry lists the op among those that it does not map, and why: MLX has nothing "
        "to express it with, or could not be held to torch's result.",
        Example("return torch.lgamma(x)"),
    ),
    reasons.NO_ENTRY: Explanation(
        "Nothing is known about the op: it is an ATen op that nobody has looked at yet, or a "
        "custom op. It says nothing about whether MLX could run it.",
        Example(
            "return clamp_to_one(x)",
            better="return torch.clamp(x, max=1)",
            definitions='@torch.library.custom_op("mylib::clamp_to_one", mutates_args=())\n'
            "def clamp_to_one(x: torch.Tensor) -> torch.Tensor:\n"
            "    return torch.clamp(x, max=1)\n\n\n"
            "@clamp_to_one.register_fake\n"
            "def _(x: torch.Tensor) -> torch.Tensor:\n"
            "    return torch.empty_like(x)\n\n\n",
        ),
        hint="`mlx-coverage ops PATTERN` lists the ops that are there.",
    ),
    reasons.MISSING_METADATA: Explanation(
        "Support is decided by the dtypes and shapes that export leaves on each node. A pass "
        "that rewrote the graph made this node without them.",
        hint="Export the model again, or let the pass copy `node.meta['val']`.",
    ),
    reasons.DTYPE: Explanation(
        "An operand or the result has a dtype that the entry does not take. Mostly it is "
        "float64, which MLX's GPU devices do not have: a tensor or a constant made without a "
        "dtype, or an explicit `.double()`.",
        Example("return torch.tanh(x.double()).float()", better="return torch.tanh(x)"),
    ),
    reasons.MIXED_DTYPE: Explanation(
        "torch promotes dtypes inside most ops. Where an entry has no promotion of its own, "
        "its operands must have one dtype from the start.",
        hint="Cast with `.to(other.dtype)` before the op.",
    ),
    reasons.RANK: Explanation(
        "An operand has more or fewer dimensions than the entry is right for. Often it is a "
        "tensor without dimensions where one with a single element would do.",
        Example(
            "return torch.index_select(x.sum(), 0, torch.tensor([0]))",
            better="return torch.index_select(x.sum().reshape(1), 0, torch.tensor([0]))",
        ),
    ),
    reasons.ZERO_SIZE: Explanation(
        "A size is 0, and torch's result for an empty operand is one that MLX does not give, "
        "or MLX raises.",
        Example("return x[:0].amax(dim=1)", better="return x[:1].amax(dim=1)"),
    ),
    reasons.ARGUMENT_VALUE: Explanation(
        "A number, a mode or a flag has a value outside the entry's domain. The sentence of "
        "the finding names the accepted ones.",
    ),
    reasons.DYNAMIC_ARGUMENT: Explanation(
        "A number that shapes the computation depends on a dynamic size or on data. The "
        "program is recorded once, so such a number must be known at export; sizes "
        "themselves may be dynamic.",
        Example(
            "return torch.nn.functional.conv1d(torch.ones(1, 1, 9), x[:, None])",
            better="return torch.ones(1, 9).unfold(1, x.shape[1], 1) @ x.t()",
            dynamic=True,
        ),
    ),
    reasons.CONSTANT_OPERAND: Explanation(
        "The entry prepares this operand when the program is lowered, by repacking a weight "
        "for instance, and can do so only with a parameter, a buffer or a constant.",
        hint="Store what is computed in `__init__` with `register_buffer`.",
    ),
    reasons.LAYOUT: Explanation(
        "The entry is right for one order of the dimensions in memory only, and the operand "
        "has another.",
        hint="`x.contiguous()` before the op.",
    ),
    reasons.NEIGHBOURS: Explanation(
        "The op is supported. It would be alone in a partition, moving no work to MLX, and "
        "everything around it falls back, so it stays with its neighbours and saves the two "
        "crossings. The finding names the op that is to blame.",
        Example("return torch.tanh(x.reshape(24).double()).float()"),
    ),
    reasons.SMALL_ISLAND: Explanation(
        "The op is supported, and its partition has fewer nodes than `min_partition_size` of "
        "`MLXPartitioner` asks for.",
        hint="Mend the fallback beside it, or ask for less: `MLXPartitioner("
        "min_partition_size=1)`.",
    ),
    reasons.NO_KERNEL: Explanation(
        "What falls back needs a kernel of ExecuTorch's own runtime. For this op there is "
        "none, so the program lowers, and does not load.",
        hint="Rewrite the line with ops of core ATen, or link a kernel for the op.",
    ),
    reasons.WRONG_KERNEL: Explanation(
        "What falls back is computed by a kernel of ExecuTorch's own runtime, and this one is "
        "known to be wrong for such a call: the program loads, runs, and gives other numbers "
        "than torch. The finding says in what they differ.",
        hint="`mlx-coverage export MODEL -o model.pte --verify` compares the results.",
    ),
    reasons.UPSTREAM: Explanation(
        "Given with `--target executorch` only: the support check of the delegate that comes "
        "with ExecuTorch declined the node, or its partitioner left it out. What the check says "
        "is quoted.",
        hint="`mlx-coverage check MODEL --target both` shows whether mlx-coverage takes it.",
    ),
    reasons.IMPORT_FAILED: Explanation(
        "The file or module raised while it was imported, or the function that makes the "
        "model raised. Nothing was analysed.",
        hint="`python my_model.py` shows the whole traceback; so does `--traceback`.",
    ),
    reasons.EXPORT_FAILED: Explanation(
        "`torch.export` could not turn the model into one graph: mostly a Python branch on the "
        "values of a tensor, or inputs that do not fit the model.",
        Example(
            "if x.sum() > 0:\n    return x + 1\nreturn x - 1",
            better="return torch.where(x.sum() > 0, x + 1, x - 1)",
        ),
    ),
    reasons.DECOMPOSITION_FAILED: Explanation(
        "ExecuTorch refuses the exported program: an op outside core ATen that nothing "
        "decomposes and no delegate takes, or a pass of its own that failed.",
        Example("return torch.linalg.lu(x)[0]"),
        hint="Rewrite the line that the message names with core ops.",
    ),
    reasons.INTERFACE: Explanation(
        "ExecuTorch would refuse to write the program, or to call it, because of an input or "
        "output: an example input that is expanded or a number that may change, a result that is "
        "no tensor, number or None, no tensor among the results, or a dataclass or a named tuple "
        "of torch that was registered without a name.",
        Example("return x.shape[0]", better="return torch.full((1,), x.shape[0])"),
    ),
    reasons.SHARED_BUFFER: Explanation(
        "Several methods use a buffer that one of them writes. The delegate keeps it for them all "
        "where each method reads and writes it in one partition; otherwise ExecuTorch keeps it "
        "in memory that the methods share, which it would reset to initial values whenever a "
        "method is loaded, unless they are zeros. Buffers of two methods that overlap without "
        "being the same tensor are refused as well.",
        hint="Start the buffer at zeros, or keep the ops that read and write it on MLX.",
    ),
}


def explain(slug: str) -> tuple[ReasonKind, Explanation] | None:
    """The reason of a slug and what it means; None for a slug that does not exist."""
    kind = reasons.BY_SLUG.get(slug)
    return (kind, EXPLANATIONS[kind]) if kind is not None else None
