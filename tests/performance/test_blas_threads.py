"""One thread of the BLAS for small products: while they run, and no longer."""

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from graphgrad.decoding import Decodable, Decoder, Sentence
from graphgrad.graph import Graph, initial_state, input, parameter
from graphgrad.layers import Step, StepSizes, dense, embedding_table
from graphgrad.ops import gather, matmul
from graphgrad.performance.blas_threads import BlasThreads, has_small_products


def threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def decodable_of(width):
    def step(now):
        hidden = gather(embedding_table(8, width), now.token)
        return dense(dense(hidden, width), 8, "output")

    return Decodable(step)


@pytest.fixture
def two():
    with threadpool_limits(limits=2, user_api="blas"):
        yield threads()


def test_a_block_has_one_thread_and_then_as_many_as_before(two):
    blas = BlasThreads()
    for _ in range(2):
        with blas.one():
            assert threads() == {1}
        assert threads() == two


@pytest.mark.parametrize(("width", "small"), [(32, True), (4096, False)])
def test_products_are_small_or_large_in_the_mean(width, small):
    x = input("x", ("batch", "position", width))
    graph = Graph({"y": matmul(x, parameter("w", (width, width)))})
    assert has_small_products(graph) is small
    assert has_small_products(Graph({"x": x}))


def test_a_step_of_decoding_has_one_thread(two, monkeypatch):
    decode = Decoder(decodable_of(16))
    seen, threads_of = [], decode.programs.threads

    def noted(small):
        seen.append(small)
        return threads_of(small)

    monkeypatch.setattr(decode.programs, "threads", noted)
    graph = Graph({"logits": decode.programs.decodable.step(Step(StepSizes(1, 1, 2)))})
    decode(initial_state(graph, 0), [Sentence([1], limit=3)])
    assert seen == [True] * 3 and threads() == two
