"""Running programs: state, dim order, numbers, dynamic sizes, threads, mx::compile."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mlx_coverage import runtime
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import (
    ArrayRef,
    Call,
    Constant,
    DtypeRef,
    Kind,
    NumberRef,
    Output,
    Program,
    Scalar,
    State,
    Update,
)
from tests.runtime.programs import (
    FLOAT32,
    INT32,
    INT64,
    load_payload,
    load_program,
    make_program,
    number,
    result,
    softmax_program,
    tensor,
)
from tests.runtime.pte import NumberValue, TensorValue


@pytest.fixture(params=[False, True], ids=["direct", "compiled"])
def compiles(request: pytest.FixtureRequest) -> Iterator[bool]:
    runtime.set_options(compile=request.param)
    yield request.param
    runtime.set_options(compile="auto")


def accumulate(initial: str | None = None) -> Program:
    """state[2:3] += x; returns the new state and twice the new state."""
    return make_program(
        inputs=[tensor(0, 1, 4)],
        states=[State(1, initial, FLOAT32, (3, 4))],
        calls=[
            Call("indexing.slice", (ArrayRef(1), (2, 0), (3, 4), (1, 1)), (2,)),
            Call("add", (ArrayRef(0), ArrayRef(2)), (3,)),
            Call("indexing.slice_update", (ArrayRef(1), ArrayRef(3), (2, 0), (3, 4), (1, 1)), (4,)),
            Call("multiply", (ArrayRef(4), Scalar(2.0, FLOAT32)), (5,)),
        ],
        outputs=[result(4), result(5)],
        updates=[Update(0, 4)],
    )


def test_state_lives_between_calls(compiles: bool):
    method = load_program(accumulate(), (3, 4), (3, 4))
    for step in range(1, 5):
        state, doubled = method.execute(torch.ones(1, 4))
        wanted = torch.zeros(3, 4)
        wanted[2] = step
        torch.testing.assert_close(state, wanted)
        torch.testing.assert_close(doubled, 2 * wanted)


def test_state_has_its_initial_value_and_leaves_named_data_alone(compiles: bool):
    start = torch.arange(12.0).reshape(3, 4)
    data = {"start": start.numpy().tobytes()}
    for _ in range(2):
        method = load_program(accumulate("start"), (3, 4), (3, 4), data=data)
        method.execute(torch.ones(1, 4))
        state, _ = method.execute(torch.ones(1, 4))
        wanted = start.clone()
        wanted[2] += 2
        torch.testing.assert_close(state, wanted)


def test_state_does_not_alias_the_callers_tensor(compiles: bool):
    keep = make_program(
        inputs=[tensor(0, 3)],
        states=[State(1, None, FLOAT32, (3,))],
        outputs=[result(1)],
        updates=[Update(0, 0)],
    )
    method = load_program(keep, (3,))
    value = torch.ones(3)
    method.execute(value)
    value.fill_(9)
    (before,) = method.execute(value)
    torch.testing.assert_close(before, torch.ones(3))


def test_states_may_be_exchanged(compiles: bool):
    swap = make_program(
        inputs=[tensor(0, 2)],
        states=[State(1, None, FLOAT32, (2,)), State(2, None, FLOAT32, (2,))],
        calls=[Call("add", (ArrayRef(1), ArrayRef(0)), (3,))],
        outputs=[result(1), result(2)],
        updates=[Update(0, 2), Update(1, 3)],
    )
    method = load_program(swap, (2,), (2,))
    a, b = torch.zeros(2), torch.zeros(2)
    for step in range(5):
        x = torch.full((2,), float(step))
        first, second = method.execute(x)
        torch.testing.assert_close(first, a)
        torch.testing.assert_close(second, b)
        a, b = b, a + x


def test_a_step_given_values_that_it_does_not_take_fails_and_keeps_the_state(compiles: bool):
    divide = make_program(
        inputs=[tensor(0, 2, dtype=INT32)],
        states=[State(1, None, INT32, (2,))],
        calls=[
            Call("add", (ArrayRef(1), ArrayRef(0)), (2,)),
            Call("floor_divide", (Scalar(12, INT32), ArrayRef(0)), (3,)),
        ],
        outputs=[result(2, INT32), result(3, INT32)],
        updates=[Update(0, 2)],
    )
    method = load_program(divide, (2,), (2,))
    method.execute(torch.tensor([1, 2], dtype=torch.int32))
    with pytest.raises(RuntimeError):
        method.execute(torch.tensor([3, 0], dtype=torch.int32))
    state, quotients = method.execute(torch.tensor([5, -5], dtype=torch.int32))
    assert state.tolist() == [6, -3]
    assert quotients.tolist() == [2, -3]


@pytest.mark.parametrize("index", [-5, 4, 2**40])
def test_an_index_outside_its_axis_fails(compiles: bool, index: int):
    take = make_program(
        inputs=[tensor(0, 4), tensor(1, 2, dtype=INT64)],
        calls=[Call("take", (ArrayRef(0), ArrayRef(1), 0), (2,))],
        outputs=[result(2)],
    )
    method = load_program(take, (2,))
    row = torch.arange(4.0)
    (taken,) = method.execute(row, torch.tensor([-4, 3]))
    assert taken.tolist() == [0, 3]
    with pytest.raises(RuntimeError):
        method.execute(row, torch.tensor([0, index]))


@pytest.mark.parametrize("start", [-1, 3, 2**32])
def test_a_slice_that_starts_outside_fails(compiles: bool, start: int):
    put = make_program(
        inputs=[tensor(0, 4), tensor(1, 2), tensor(2, 1, dtype=INT64)],
        calls=[Call("slice_update", (ArrayRef(0), ArrayRef(1), ArrayRef(2), (0,)), (3,))],
        outputs=[result(3)],
    )
    method = load_program(put, (4,))
    (updated,) = method.execute(torch.zeros(4), torch.ones(2), torch.tensor([2]))
    assert updated.tolist() == [0, 0, 1, 1]
    with pytest.raises(RuntimeError):
        method.execute(torch.zeros(4), torch.ones(2), torch.tensor([start]))


def test_state_is_updated_in_place():
    rows = 1 << 16
    cache = make_program(
        inputs=[tensor(0, 1, 64), tensor(4, dtype=INT64)],
        states=[State(1, None, FLOAT32, (rows, 64))],
        calls=[
            Call("host.item", (ArrayRef(4),), (0,)),
            Call("host.add", (NumberRef(0), 1), (1,)),
            Call(
                "indexing.slice_update",
                (ArrayRef(1), ArrayRef(0), (NumberRef(0), 0), (NumberRef(1), 64), (1, 1)),
                (2,),
            ),
            Call("indexing.slice", (ArrayRef(2), (0, 0), (1, 64), (1, 1)), (3,)),
        ],
        outputs=[result(3)],
        updates=[Update(0, 2)],
    )
    method = load_program(cache, (1, 64))
    row = torch.ones(1, 64)
    method.execute(row, torch.tensor(0))
    before = read_peak_memory()
    for position in range(1, 50):
        (first,) = method.execute(row, torch.tensor(position))
    # A copy of the cache is 16 MB.
    assert read_peak_memory() - before < 8 << 20
    torch.testing.assert_close(first, row)


def read_peak_memory() -> int:
    """Bytes of resident memory at most so far, after forgetting the peak until now."""
    with open("/proc/self/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
        clear.write("5")
    return int(lines["VmHWM"].split()[0]) * 1024


def test_failed_call_leaves_the_state():
    checked = make_program(
        inputs=[tensor(0, 1), tensor(3, dtype=INT64)],
        states=[State(1, None, FLOAT32, (1,))],
        calls=[
            Call("add", (ArrayRef(1), ArrayRef(0)), (2,)),
            Call("host.item", (ArrayRef(3),), (0,)),
            Call("host.floordiv", (1, NumberRef(0)), (1,)),
        ],
        outputs=[result(2)],
        updates=[Update(0, 2)],
    )
    method = load_program(checked, (1,))
    method.execute(torch.ones(1), torch.tensor(1))
    with pytest.raises(RuntimeError):
        method.execute(torch.ones(1), torch.tensor(0))
    assert runtime.last_error() == "[host.floordiv] division by zero."
    (state,) = method.execute(torch.ones(1), torch.tensor(1))
    assert state.item() == 2


def test_call_that_fails_while_state_is_given_up_poisons_the_delegate():
    # MLX has no CPU kernel for qqmm, and says so only when it evaluates.
    if runtime.device() == "gpu":
        pytest.skip("needs an evaluation that fails")
    late = make_program(
        inputs=[tensor(0, 2, 64), tensor(1, 8, 64)],
        states=[State(2, None, FLOAT32, (2, 8))],
        calls=[
            Call("qqmm", (ArrayRef(0), ArrayRef(1), None, None, None, "nvfp4", None, None), (3,)),
            Call("add", (ArrayRef(3), ArrayRef(2)), (4,)),
        ],
        outputs=[result(4)],
        updates=[Update(0, 4)],
    )
    method = load_program(late, (2, 8))
    inputs = torch.ones(2, 64), torch.ones(8, 64)
    with pytest.raises(RuntimeError):
        method.execute(*inputs)
    assert "NYI" in runtime.last_error()
    with pytest.raises(RuntimeError):
        method.execute(*inputs)
    assert "load again" in runtime.last_error()
    # The stream serves other delegates as before.
    assert len(load_program(softmax_program(), (2, 4)).execute(torch.ones(2, 3), torch.ones(3, 4)))


ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS)
def test_output_in_another_dim_order(order: tuple[int, ...]):
    program = make_program(
        inputs=[tensor(0, 2, 3, 4)],
        calls=[Call("negative", (ArrayRef(0),), (1,))],
        outputs=[result(1)],
    )
    method = load_payload(
        serialize(program),
        [TensorValue(FLOAT32, (2, 3, 4))],
        [TensorValue(FLOAT32, (2, 3, 4), dim_order=order)],
    )
    x = torch.arange(24.0).reshape(2, 3, 4)
    (output,) = method.execute(x)
    torch.testing.assert_close(output, -x)
    assert [output.stride()[d] for d in order] == sorted(output.stride(), reverse=True)


def test_channels_last_input(compiles: bool):
    program = make_program(
        inputs=[tensor(0, 2, 3, 4, 5)],
        calls=[Call("negative", (ArrayRef(0),), (1,))],
        outputs=[result(1)],
    )
    last = (0, 2, 3, 1)
    method = load_payload(
        serialize(program),
        [TensorValue(FLOAT32, (2, 3, 4, 5), dim_order=last)],
        [TensorValue(FLOAT32, (2, 3, 4, 5))],
    )
    x = torch.arange(120.0).reshape(2, 3, 4, 5)
    (output,) = method.execute(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, -x)


def test_numbers_in_and_out():
    program = make_program(
        inputs=[
            tensor(0, 2),
            number(0),
            number(1, Kind.FLOAT),
            number(2, Kind.BOOL),
        ],
        calls=[
            Call("host.mul", (NumberRef(0), 3), (3,)),
            Call("host.truediv", (NumberRef(1), NumberRef(0)), (4,)),
            Call("host.eq", (NumberRef(2), 1), (5,)),
            Call("multiply", (ArrayRef(0), NumberRef(3)), (1,)),
        ],
        outputs=[
            result(1),
            Output(Kind.INT, 3),
            Output(Kind.FLOAT, 4),
            Output(Kind.BOOL, 5),
        ],
    )
    numbers = (4, 0.5, True)
    outputs = load_program(program, (2,), numbers=numbers).execute(torch.ones(2), *numbers)
    assert outputs[0].tolist() == [12, 12]
    assert outputs[1:] == [12, 0.125, True]


def test_item_is_read_in_the_middle():
    program = make_program(
        inputs=[tensor(0, 1, dtype=INT64)],
        calls=[
            Call("host.item", (ArrayRef(0),), (0,)),
            Call("arange", (0, NumberRef(0), 1, DtypeRef(FLOAT32)), (1,)),
        ],
        outputs=[result(1), Output(Kind.INT, 0)],
    )
    inputs = [TensorValue(INT64, (1,))]
    outputs = [TensorValue(FLOAT32, (10,), dynamic=True), NumberValue()]
    method = load_payload(serialize(program), inputs, outputs)
    for size in (3, 7, 0):
        values, count = method.execute(torch.tensor([size]))
        assert values.tolist() == list(range(size))
        assert count == size


def test_dynamic_sizes(compiles: bool):
    """[n, 4] -> flattened, its length read on the host."""
    program = make_program(
        inputs=[tensor(0, -1, 4)],
        calls=[
            Call("host.size", (ArrayRef(0), 0), (0,)),
            Call("host.mul", (NumberRef(0), 4), (1,)),
            Call("reshape", (ArrayRef(0), (NumberRef(1),)), (1,)),
            Call("exp", (ArrayRef(1),), (2,)),
        ],
        outputs=[result(2)],
    )
    before = runtime.counter("compiled_programs")
    method = load_payload(
        serialize(program),
        [TensorValue(FLOAT32, (8, 4), dynamic=True)],
        [TensorValue(FLOAT32, (32,), dynamic=True)],
    )
    for rows in (2, 5, 2, 8, 5):
        x = torch.randn(rows, 4)
        (output,) = method.execute(x)
        torch.testing.assert_close(output, x.exp().flatten())
    assert runtime.counter("compiled_programs") - before == (3 if compiles else 0)


def test_weights_are_read_in_place():
    weight = torch.randn(64, 64)
    program = make_program(
        inputs=[tensor(0, 2, 64)],
        constants=[Constant(1, "weight", FLOAT32, (64, 64))],
        calls=[Call("matmul", (ArrayRef(0), ArrayRef(1)), (2,))],
        outputs=[result(2)],
    )
    before = runtime.counter("zero_copied_inputs")
    method = load_program(program, (2, 64), data={"weight": weight.numpy().tobytes()})
    x = torch.randn(2, 64)
    (output,) = method.execute(x)
    torch.testing.assert_close(output, x @ weight, rtol=1e-4, atol=1e-4)
    if runtime.device() == "cpu":
        assert runtime.counter("zero_copied_inputs") == before + 2


def test_zero_copy_off_gives_the_same():
    method = load_program(softmax_program(), (2, 4))
    inputs = torch.randn(2, 3), torch.randn(3, 4)
    (shared,) = method.execute(*inputs)
    runtime.set_options(zero_copy=False)
    try:
        before = runtime.counter("copied_inputs")
        (copied,) = method.execute(*inputs)
        assert runtime.counter("copied_inputs") == before + 2
    finally:
        runtime.set_options(zero_copy=True)
    torch.testing.assert_close(shared, copied, rtol=0, atol=0)


def test_empty_tensors(compiles: bool):
    program = make_program(
        inputs=[tensor(0, 0, 3)],
        constants=[Constant(1, "nothing", FLOAT32, (0, 3))],
        calls=[
            Call("add", (ArrayRef(0), ArrayRef(1)), (2,)),
            Call("sum", (ArrayRef(2), (0,), False), (3,)),
        ],
        outputs=[result(2), result(3)],
    )
    method = load_program(program, (0, 3), (3,))
    empty, total = method.execute(torch.zeros(0, 3))
    assert empty.shape == (0, 3)
    assert total.tolist() == [0, 0, 0]


def test_more_values_than_a_byte_counts():
    count = 300
    program = make_program(
        inputs=[tensor(slot, 1) for slot in range(count)],
        calls=[
            Call("concatenate", (tuple(map(ArrayRef, range(count))), 0), (count,)),
            Call("split", (ArrayRef(count), count, 0), tuple(range(count + 1, 2 * count + 1))),
        ],
        outputs=[result(slot) for slot in range(count + 1, 2 * count + 1)],
    )
    method = load_program(program, *[(1,)] * count)
    values = [torch.tensor([float(n)]) for n in range(count)]
    assert [value.item() for value in method.execute(*values)] == list(range(count))


def test_input_that_is_an_output():
    program = make_program(inputs=[tensor(0, 2)], outputs=[result(0), result(0)])
    first, second = load_program(program, (2,), (2,)).execute(torch.ones(2))
    assert first.tolist() == second.tolist() == [1, 1]


def test_scalar_of_each_kind():
    program = make_program(
        inputs=[tensor(0, 2, dtype=INT32), number(0)],
        calls=[
            Call("add", (ArrayRef(0), Scalar(7, INT32)), (1,)),
            Call("add", (ArrayRef(0), NumberRef(0)), (2,)),
            Call("add", (ArrayRef(0), 2), (3,)),
        ],
        outputs=[result(1, INT32), result(2, INT32), result(3, INT32)],
    )
    method = load_program(program, (2,), (2,), (2,), numbers=(3,))
    outputs = method.execute(torch.ones(2, dtype=torch.int32), 3)
    assert [o.tolist() for o in outputs] == [[8, 8], [4, 4], [3, 3]]


def test_programs_in_several_threads(compiles: bool):
    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        method = load_program(accumulate(), (3, 4), (3, 4))
        other = load_program(softmax_program(), (2, 4))
        total = torch.zeros(3, 4)
        for _ in range(40):
            x = torch.randn(1, 4, generator=generator)
            total[2] += x[0]
            state, _ = method.execute(x)
            torch.testing.assert_close(state, total)
            a, b = torch.randn(2, 3, generator=generator), torch.randn(3, 4)
            (output,) = other.execute(a, b)
            torch.testing.assert_close(output, (a @ b).softmax(1), rtol=1e-4, atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4


def test_one_delegate_called_from_many_short_threads(compiles: bool):
    method = load_program(accumulate(), (3, 4), (3, 4))
    states: list[float] = []
    for _ in range(12):
        thread = threading.Thread(
            target=lambda: states.append(method.execute(torch.ones(1, 4))[0][2, 0].item())
        )
        thread.start()
        thread.join()
    assert states == list(range(1, 13))


def test_compiled_programs_of_dead_delegates_are_forgotten():
    # mx::compile keys its cache on an address that a new delegate may be given again.
    runtime.set_options(compile=True)
    try:
        for row in range(30):
            # Nothing to fuse, so that MLX compiles no kernel.
            program = make_program(
                inputs=[tensor(0, 30)],
                calls=[Call("indexing.slice", (ArrayRef(0), (row,), (row + 1,), (1,)), (1,))],
                outputs=[result(1)],
            )
            (output,) = load_program(program, (1,)).execute(torch.arange(30.0))
            assert output.tolist() == [row]
    finally:
        runtime.set_options(compile="auto")
