from __future__ import annotations

import torch

from restore.degradations.conjugate_gradient import conjugate_gradient


def systems(rows: int, n: int, condition: float) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(rows, n, n, generator=g, dtype=torch.float64))
    values = torch.logspace(0, torch.tensor(condition).log10().item(), n, dtype=torch.float64)
    matrix: torch.Tensor = q @ torch.diag(values) @ q.mT
    return matrix


def test_it_solves_each_row() -> None:
    k = systems(4, 20, 1e3)
    b = torch.randn(4, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, iterations = conjugate_gradient(lambda p: (k @ p.unsqueeze(-1)).squeeze(-1), b, relative=1e-10)
    assert iterations <= 60
    torch.testing.assert_close(x, torch.linalg.solve(k, b), rtol=1e-6, atol=1e-8)


def test_a_finished_row_is_not_touched_by_a_slow_one() -> None:
    k = torch.stack((torch.eye(20, dtype=torch.float64), systems(1, 20, 1e4)[0]))
    b = torch.randn(2, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def solve(rows: slice) -> torch.Tensor:
        return conjugate_gradient(lambda p: (k[rows] @ p.unsqueeze(-1)).squeeze(-1), b[rows], relative=1e-6)[0]

    both = solve(slice(0, 2))
    torch.testing.assert_close(both[:1], solve(slice(0, 1)), rtol=0, atol=1e-15)
    torch.testing.assert_close(both[1:], solve(slice(1, 2)), rtol=0, atol=1e-7)


def test_a_perfect_preconditioner_needs_one_iteration_and_zero_needs_none() -> None:
    k = systems(2, 15, 1e5)
    inverse = torch.linalg.inv(k)
    b = torch.randn(2, 15, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def times(matrix: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return (matrix @ p.unsqueeze(-1)).squeeze(-1)

    x, iterations = conjugate_gradient(lambda p: times(k, p), b, precondition=lambda r: times(inverse, r))
    assert iterations == 1
    torch.testing.assert_close(x, times(inverse, b))
    x, iterations = conjugate_gradient(lambda p: times(k, p), b * 0)
    assert iterations == 0 and float(x.abs().max()) == 0.0


def test_the_absolute_tolerance_stops_early() -> None:
    k = systems(1, 30, 1e4)
    b = torch.randn(1, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def apply(p: torch.Tensor) -> torch.Tensor:
        return (k @ p.unsqueeze(-1)).squeeze(-1)

    _, loose = conjugate_gradient(apply, b, energy=torch.tensor([1.0]))
    _, tight = conjugate_gradient(apply, b)
    assert loose < tight
