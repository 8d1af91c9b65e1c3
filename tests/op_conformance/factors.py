"""What is unique of factors of a matrix, of which many are right, or is made of them."""

import torch


def _rebuild_eigh(results: list[torch.Tensor]) -> list[torch.Tensor]:
    values, vectors = results
    if vectors.dim() == 1:  # not asked for
        return results
    return [values, vectors * values.unsqueeze(-2) @ vectors.mT, vectors.mT @ vectors]


def _rebuild_qr(results: list[torch.Tensor]) -> list[torch.Tensor]:
    q, r = results
    if q.dim() == 1:
        return [r.mT @ r, r.tril(-1)]
    return [q @ r, q.mT @ q, r.tril(-1)]


def _rebuild_svd(results: list[torch.Tensor]) -> list[torch.Tensor]:
    u, s, vh = results
    if u.dim() == 1:
        return results
    count = s.shape[-1]
    product = u[..., :count] * s.unsqueeze(-2) @ vh[..., :count, :]
    return [s, product, u.mT @ u, vh @ vh.mT]


FACTORS = {
    torch.ops.aten._linalg_eigh.default: _rebuild_eigh,
    torch.ops.aten.linalg_qr.default: _rebuild_qr,
    torch.ops.aten._linalg_svd.default: _rebuild_svd,
}
