"""The plan's formulas against torch's counters and the kernel's, and the page against what was measured."""

import math
import socket
import time
from dataclasses import replace

import pytest
import torch

from benchmarks.questions.growth import MIDDLE
from benchmarks.scaling.formulas import NetworkCost, all_reduced
from benchmarks.scaling.plan import Host, Step, images_where_all_reduce_shows
from benchmarks.scaling.program import PAGE, RESULTS, read, with_tables
from benchmarks.scaling.recipes import recipe, recipes
from benchmarks.scaling.runs import large_step
from benchmarks.scaling.traffic import bytes_a_step, bytes_sent
from benchmarks.sides.flops import flops_of_call, flops_of_step
from benchmarks.sides.ours import network_of_paper
from benchmarks.sides.shape import PAPER, SMALL, Shape

SHAPES = [SMALL, MIDDLE, PAPER, replace(PAPER, side=64, multipliers=(1, 3), attention=(64,), num_res_blocks=3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_operations_and_parameters_are_torch_s(shape: Shape) -> None:
    cost = NetworkCost(shape)
    with torch.device("meta"):
        assert cost.parameters == sum(p.numel() for p in network_of_paper(shape).parameters())
    assert cost.forward == flops_of_call(network_of_paper, shape, 1)
    assert cost.step == flops_of_step(network_of_paper, shape, 1)


def test_the_recipes_have_the_papers_parameters() -> None:
    sizes = [each.cost.parameters for each in recipes()]
    assert sizes == [35_746_307, 113_673_219, 113_673_219, 255_677_955]


@pytest.mark.parametrize("shape", [SMALL, MIDDLE, replace(MIDDLE, dropout=0.1)])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_activations_are_what_autograd_keeps(shape: Shape, checkpointed: bool) -> None:
    """Within 2 %: the time embedding and the moments of GroupNorm are left out. Where a block is computed again, what
    is kept of the largest one comes on top of what autograd keeps first."""
    cost = NetworkCost(shape)
    expected = 4 * sum(b.saved if b.kept is None or not checkpointed else b.kept for b in cost.blocks)
    assert bytes_kept(shape, checkpointed, batch_size=4) == pytest.approx(4 * expected, rel=0.02)
    assert cost.activations_checkpointed < cost.activations


def bytes_kept(shape: Shape, checkpointed: bool, batch_size: int) -> int:
    """Of the storages that a network call keeps for backward, weights not counted."""
    network = network_of_paper(shape).train()
    for part in network.modules():
        if hasattr(part, "checkpointed"):
            part.checkpointed = checkpointed
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.randn(batch_size, 3, shape.side, shape.side)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x, torch.zeros(batch_size, dtype=torch.long)).sum()
    return sum(tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in weights)


def test_the_kernel_counts_what_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        before = bytes_sent()
        sender.sendall(b"x" * 100_000)
        with receiver:
            received = 0
            while received < 100_000:
                received += len(receiver.recv(65_536))
            time.sleep(0.5)  # the other side need not say at once what it has
            assert bytes_sent() - before == pytest.approx(100_000, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "turns"), [(2, 1), (2, 2), (3, 1)])
def test_processes_send_what_the_formula_says(processes: int, turns: int) -> None:
    """Accumulated or not: between the batches of a step nothing is sent."""
    small = ["data=fake", "data.size=[8,8]", "data.num_images=64", "data.batch_size=12", "data.eval_batch_size=64"]
    parameters = NetworkCost(Shape(8, 32, (1, 2), (4,), 1, 8, 0.0)).parameters
    assert bytes_a_step(processes, *small, turns=turns) == pytest.approx(all_reduced(parameters, processes), rel=0.01)


def test_the_slowest_part_is_what_one_waits_for() -> None:
    cifar10 = recipe("cifar10")
    step = Step(cifar10, 8, Host(0.0, {32: math.inf}))
    assert step.seconds == pytest.approx(step.computing)
    assert Step(cifar10, 8, Host(1.0, {32: math.inf})).seconds == 1.0
    assert Step(cifar10, 8, Host(0.0, {32: 16.0})).seconds == 1.0


def test_all_reduce_shows_where_it_takes_as_long_as_backward() -> None:
    cifar10 = recipe("cifar10")
    for gpus in (1024, 4096):
        step = Step(cifar10, gpus, Host(0.0, {32: math.inf}))
        images = images_where_all_reduce_shows(cifar10, step.link)
        at_the_border = replace(step, recipe=replace(cifar10, batch_size=images * gpus))  # type: ignore[arg-type]
        assert at_the_border.all_reduce == pytest.approx(at_the_border.backward, rel=0.01)


def test_the_page_says_what_was_measured() -> None:
    assert RESULTS.is_file()
    assert PAGE.read_text() == with_tables(PAGE.read_text(), read()), "run python -m benchmarks.scaling --page"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["celebahq256", "lsun_bedroom_large"])
def test_the_recipes_of_256_take_a_real_step(name: str) -> None:
    """train.py itself: weights, two moments and the average are in the checkpoint, 16 bytes a parameter."""
    step = large_step(name)
    assert step["step"] == 2
    assert 0.5 < step["loss"] < 1.5  # ε has variance 1, and the network starts at nothing
    assert 0 < step["grad_norm"] < 100
    size = 16 * recipe(name, "data.root=unused").cost.parameters
    assert step["checkpoint_gb"] * 1e9 == pytest.approx(size, rel=0.01)
