"""Linear algebra of small matrices: one delegate, torch's numbers, errors where torch raises."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import mlx_coverage.runtime
from tests.e2e.lowering import lower, run_eagerly

L = torch.linalg
EYE = torch.eye(4)
A = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)) + 4 * EYE
B = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
COVARIANCE = A @ A.mT + EYE


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def update_kalman(mean: Tensor, covariance: Tensor, measured: Tensor) -> Any:
    observe, noise = torch.eye(2, 4), 0.1 * torch.eye(2)
    innovation = measured - mean @ observe.T
    spread = observe @ covariance @ observe.T + noise
    gain = L.solve(spread, observe @ covariance).mT
    return mean + (gain @ innovation[..., None])[..., 0], (EYE - gain @ observe) @ covariance


def measure_mahalanobis(x: Tensor, covariance: Tensor) -> Tensor:
    whitened = L.solve_triangular(L.cholesky(covariance), x.mT, upper=False)
    return whitened.square().sum(-2).sqrt()


def whiten(x: Tensor) -> Tensor:
    values, vectors = L.eigh(x)
    return vectors @ torch.diag_embed(values.rsqrt()) @ vectors.mT


def approximate(x: Tensor) -> Tensor:
    u, s, vh = L.svd(x, full_matrices=False)
    return (u[..., :2] * s[..., None, :2]) @ vh[..., :2, :]


def log_density(x: Tensor, covariance: Tensor) -> Tensor:
    normal = torch.distributions.MultivariateNormal(
        torch.zeros(2, 4), covariance_matrix=covariance, validate_args=False
    )
    return normal.log_prob(x)


CALLS: dict[str, tuple[Any, ...]] = {
    "inv, solve, cholesky": (
        lambda x, y: (L.inv(x), L.solve(x, y), L.cholesky(x @ x.mT + EYE)), A, B,
    ),
    "inv of a batch of batches": (L.inv, A.expand(3, 2, 4, 4)),
    "older names": (
        lambda x, s: (torch.inverse(x), torch.cholesky(s), torch.det(x), *torch.slogdet(x)),
        A, COVARIANCE,
    ),
    "solve of a vector": (L.solve, A[0], B[0, :, 0]),
    "solve of a batch of vectors": (L.solve, A, B[..., 0]),
    "solve over a larger batch": (L.solve, A[:1], B),
    "solve from the right": (lambda x, y: L.solve(x, y, left=False), A, B.mT),
    "cholesky, triangular": (
        lambda s, y: L.solve_triangular(L.cholesky(s), y, upper=False), COVARIANCE, B,
    ),
    "triangular from the right": (
        lambda x, y: L.solve_triangular(x, y, upper=True, left=False, unitriangular=True),
        A, B.mT,
    ),
    "triangular over a larger batch": (
        lambda x, y: torch.triangular_solve(y, x[0], transpose=True)[0], A, B,
    ),
    "cholesky_solve": (lambda s, y: torch.cholesky_solve(y, L.cholesky(s)), COVARIANCE, B),
    "cholesky_inverse": (
        lambda s: torch.cholesky_inverse(L.cholesky(s, upper=True), upper=True), COVARIANCE,
    ),
    "determinants": (lambda x: (L.det(x), *L.slogdet(x), torch.logdet(x)), A),
    "loss of determinants": (lambda x: -L.slogdet(x @ x.mT + EYE).logabsdet.mean(), A),
    "matrix powers": (
        lambda x: tuple(L.matrix_power(x, n) for n in (-6, -3, -1, 0, 1, 2, 5)), A,
    ),
    "eigenvalues": (L.eigvalsh, COVARIANCE),
    "singular values": (L.svdvals, B),
    "norms": (lambda x: (L.matrix_norm(x, 2), L.matrix_norm(x, "nuc"), L.cond(x)), B),
    "qr": (lambda x: tuple(L.qr(x)), B),
    "r alone": (lambda x: L.qr(x, mode="r").R, B),
    "pinv": (L.pinv, B),
    "pinv of a wide matrix": (lambda x: L.pinv(x.mT, rtol=1e-3), B),
    "pinv of a symmetric matrix": (lambda s: L.pinv(s, hermitian=True), COVARIANCE),
    "pinv of less than full rank": (lambda x: torch.pinverse(x @ x.mT, 1e-4), B),
    "matrix_rank": (lambda x: L.matrix_rank(x @ x.mT), B),
    "matrix_exp": (lambda x: (torch.matrix_exp(x - 4 * EYE), L.matrix_exp(x * 1e-3)), A),
    "whiten": (whiten, COVARIANCE),
    "approximate": (approximate, B),
    "approximate a wide matrix": (lambda x: approximate(x.mT), B),
    "update_kalman": (update_kalman, B[:, 0].repeat(1, 2)[:, :4], COVARIANCE, B[:, 1, :2]),
    "measure_mahalanobis": (measure_mahalanobis, B.mT, COVARIANCE),
    "log_density": (log_density, B[..., 0], COVARIANCE),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_one_delegate_gives_torchs_numbers(name: str) -> None:
    function, *given = CALLS[name]
    inputs = [x.contiguous() for x in given]
    model = Apply(function)
    lowered = lower(model, *inputs)
    assert lowered.fallbacks() == []
    assert len(lowered.delegates()) == 1
    for found, expected in zip(lowered.start()(*inputs), run_eagerly(model, *inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "function", [L.solve, lambda x, y: L.solve(x, y[..., 0])], ids=["matrices", "vectors"]
)
def test_batch_of_any_size(function: Callable[..., Any]) -> None:
    model = Apply(function)
    batch = Dim("batch", min=2, max=16)
    lowered = lower(model, A, B, dynamic_shapes={"inputs": ({0: batch}, {0: batch})})
    assert lowered.fallbacks() == []
    assert len(lowered.delegates()) == 1
    running = lowered.start()
    for count in (2, 6):
        x, y = (t.repeat(count // 2, 1, 1) for t in (A, B))
        torch.testing.assert_close(running(x, y)[0], model(x, y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "wrong", "says"),
    [
        (L.inv, torch.zeros(2, 4, 4), "LU factorization failed"),
        (lambda x: L.solve(x, B), torch.zeros(2, 4, 4), "triangular inversion failed"),
        (L.cholesky, -EYE.expand(2, 4, 4), "positive definite"),
        (L.eigvalsh, torch.full((2, 4, 4), torch.nan), "failed with error code"),
        (L.svdvals, torch.full((2, 4, 4), torch.nan), "failed with error code"),
    ],
    ids=["inv", "solve", "cholesky", "eigvalsh", "svdvals"],
)
def test_where_torch_raises_the_call_fails_and_the_next_runs(
    function: Callable[[Tensor], Tensor], wrong: Tensor, says: str
) -> None:
    with pytest.raises(RuntimeError):
        function(wrong)
    running = lower(Apply(function), COVARIANCE).start()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            running(wrong)
        assert says in mlx_coverage.runtime.last_error()
        found = running(COVARIANCE)[0]
        torch.testing.assert_close(found, function(COVARIANCE), rtol=1e-4, atol=1e-4)
