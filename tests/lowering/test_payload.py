"""Payload bytes: what is written is what docs/payload.md says."""

from hypothesis import given
from hypothesis import strategies as st

from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import (
    ArrayRef,
    Call,
    Constant,
    DtypeRef,
    Input,
    Kind,
    NumberRef,
    Output,
    Program,
    Scalar,
    State,
    Update,
)
from tests.lowering.reading import read_payload

slots = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([0, 3, 4, 5, 6, 11, 15])
dims = st.lists(st.integers(-1, 2**40), max_size=5).map(tuple)
names = st.text(max_size=12).filter(lambda s: s.isprintable())
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)  # NaN is not equal to itself; it has a test of its own
leaves = st.one_of(
    st.none(), st.booleans(), integers, floats, names,
    st.builds(ArrayRef, slots), st.builds(NumberRef, slots), st.builds(DtypeRef, dtypes),
    st.builds(Scalar, integers | floats, dtypes),
)  # fmt: skip
arguments = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
results = st.lists(slots, min_size=1, max_size=3).map(tuple)
programs = st.builds(
    Program,
    arrays=slots,
    numbers=slots,
    inputs=st.lists(
        st.builds(Input, st.just(Kind.TENSOR), slots, dtypes, dims)
        | st.builds(Input, st.sampled_from([Kind.INT, Kind.FLOAT, Kind.BOOL]), slots)
    ).map(tuple),
    constants=st.lists(st.builds(Constant, slots, names, dtypes, dims)).map(tuple),
    states=st.lists(st.builds(State, slots, st.none() | names, dtypes, dims)).map(tuple),
    calls=st.lists(st.builds(Call, names, st.lists(arguments, max_size=4).map(tuple), results)).map(
        tuple
    ),
    outputs=st.lists(
        st.builds(Output, st.just(Kind.TENSOR), slots, dtypes)
        | st.builds(Output, st.sampled_from([Kind.INT, Kind.FLOAT, Kind.BOOL]), slots)
    ).map(tuple),
    updates=st.lists(st.builds(Update, slots, slots)).map(tuple),
)


@given(programs)
def test_what_is_written_is_read_back(program: Program) -> None:
    found = read_payload(serialize(program))
    assert found == program
    assert repr(found) == repr(program)  # 1, 1.0 and True are equal


@given(programs)
def test_bytes_are_deterministic(program: Program) -> None:
    assert serialize(program) == serialize(program)


def test_nan_is_written() -> None:
    call = Call("clip", (ArrayRef(0), float("nan"), Scalar(float("nan"), 6)), (1,))
    program = Program(2, 0, (), (), (), (call,), (), ())
    assert repr(read_payload(serialize(program))) == repr(program)


def test_functions_are_listed_once() -> None:
    calls = tuple(Call("negative", (ArrayRef(i),), (i + 1,)) for i in range(1000))
    program = Program(1001, 0, (), (), (), calls, (), ())
    # Per call: function, number of results, result, tag, slot.
    assert len(serialize(program)) < 1000 * (4 + 4 + 4 + 1 + 4) + 200
