"""Painting in the background, without widgets: clock, display and transfer are injected."""

import threading
import time

import pytest
import torch

from nstlib.images import ImageError
from nstlib.widgets.painting import REFRESH, Painting, Weights, Worker

PATIENCE = 20.0  # seconds


class FakeTransfer:
    """Counts steps; its image's gray level is their number, in ten thousandths."""

    def __init__(self):
        self.history, self.weights, self.thread = [], [], set()

    def reweight(self, content_weight, style_weight, tv_weight, style_layers):
        self.weights.append((content_weight, style_weight, tv_weight, style_layers))

    def step(self):
        self.thread.add(threading.current_thread().name)
        self.history.append({"step": len(self.history) + 1})

    @property
    def image(self):
        return torch.full((1, 3, 8, 8), len(self.history) / 10_000)


def steps_shown(painting):
    return round(10_000 * painting.image[0, 0, 0, 0].item())


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def fake_painting(show=lambda painting: None, clock=time.monotonic):
    transfer = FakeTransfer()
    return Painting(lambda: transfer, Weights(), show, clock), transfer


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "nstlib-lab"]


@pytest.fixture(autouse=True)
def no_threads_are_left():
    yield
    assert not threads()


# painting


def test_the_transfer_is_made_late_and_shown_at_once():
    made, shown = [], []
    painting = Painting(lambda: made.append(1) or FakeTransfer(), Weights(), lambda p: shown.append(len(p.history)))
    assert not made
    assert painting.transfer is None
    assert painting.image is None
    assert painting.history == []
    painting.open()
    painting.open()
    assert (len(made), shown) == (1, [0])
    assert isinstance(painting.transfer, FakeTransfer)


def test_images_come_at_the_refresh_rate_at_most():
    clock, shown = FakeClock(), []
    painting, _ = fake_painting(lambda p: shown.append(len(p.history)), clock)
    painting.open()
    for _ in range(100):
        clock.now += REFRESH / 3.9
        painting.advance()
    assert shown == [0, *range(4, 101, 4)]
    assert steps_shown(painting) == 100


def test_what_the_rate_kept_back_is_shown_when_asked():
    clock, shown = FakeClock(), []
    painting, _ = fake_painting(lambda p: shown.append(len(p.history)), clock)
    painting.advance()
    painting.show()
    assert shown == [0, 1]


def test_new_weights_hold_from_the_next_step_on():
    painting, transfer = fake_painting()
    painting.advance()
    assert transfer.weights == []  # it was made with them
    new = Weights(content=2.0, style=3.0, tv=4.0, layers=(("relu1_1", 0.5),))
    painting.weights = new
    assert painting.weights_in_use == Weights()
    painting.advance()
    painting.advance()
    assert transfer.weights == [(2.0, 3.0, 4.0, {"relu1_1": 0.5})]
    assert painting.weights_in_use is new


def test_weights_cannot_be_changed_only_replaced():
    with pytest.raises(AttributeError):
        Weights().style = 3.0


def test_weights_that_change_all_the_time_are_never_mixed():
    """Whatever a step uses was one of the snapshots, whole."""
    painting, transfer = fake_painting()
    worker = Worker(painting, pytest.fail)
    worker.start()
    worker.go()
    for i in range(2000):
        painting.weights = Weights(float(i), float(i), float(i), (("relu1_1", float(i)),))
    wait_until(lambda: painting.weights_in_use.style == 1999)
    worker.stop()
    assert all(content == style == tv == layers["relu1_1"] for content, style, tv, layers in transfer.weights)


# the worker


@pytest.fixture
def worker():
    painting, transfer = fake_painting()
    worker = Worker(painting, lambda error: None)
    worker.transfer = transfer
    worker.start()
    yield worker
    worker.stop()


def test_waits_until_told_and_paints_in_its_own_thread(worker):
    wait_until(lambda: worker.painting.image is not None)
    time.sleep(0.05)
    assert worker.transfer.history == []
    worker.go()
    wait_until(lambda: len(worker.transfer.history) > 10)
    assert worker.transfer.thread == {"nstlib-lab"}
    assert worker.daemon  # it dies with the kernel


def test_paused_it_stays_and_goes_on(worker):
    worker.go()
    wait_until(lambda: len(worker.transfer.history) > 5)
    worker.pause()
    wait_until(lambda: steps_shown(worker.painting) == len(worker.transfer.history))  # the last step is shown
    steps = len(worker.transfer.history)
    time.sleep(0.05)
    assert len(worker.transfer.history) == steps
    assert not worker.going
    worker.go()
    wait_until(lambda: len(worker.transfer.history) > steps)


def test_paints_so_many_steps_and_pauses(worker):
    for total in (7, 14):
        worker.go(steps=7)
        wait_until(lambda: not worker.going)
        time.sleep(0.02)
        assert len(worker.transfer.history) == total
        assert steps_shown(worker.painting) == total


def test_told_to_go_on_for_good_it_does_not_stop_at_the_number(worker):
    for _ in range(200):
        worker.go(steps=1)
        worker.go()
        assert worker.going
    wait_until(lambda: len(worker.transfer.history) > 300)


@pytest.mark.parametrize("going", [False, True])
def test_stops_and_is_waited_for(worker, going):
    if going:
        worker.go()
    worker.stop()
    assert not worker.is_alive()
    worker.stop()  # again does no harm


def test_a_worker_that_never_began_can_be_stopped():
    painting, _ = fake_painting()
    Worker(painting, pytest.fail).stop()


def test_an_error_ends_it_and_is_told():
    told = []
    painting, transfer = fake_painting()
    transfer.step = lambda: (_ for _ in ()).throw(RuntimeError("no memory"))
    worker = Worker(painting, told.append)
    worker.start()
    worker.go()
    wait_until(lambda: not worker.is_alive())
    assert [type(error) for error in told] == [RuntimeError]
    assert not worker.going


def test_an_error_while_the_transfer_is_made_is_told_too():
    told = []

    def begin():
        raise ImageError("content")

    worker = Worker(Painting(begin, Weights(), lambda p: None), told.append)
    worker.start()
    wait_until(lambda: told)
    worker.stop()
    assert [type(error) for error in told] == [ImageError]


def test_a_hundred_starts_and_stops_leave_no_thread():
    for _ in range(100):
        painting, _ = fake_painting()
        worker = Worker(painting, pytest.fail)
        worker.start()
        worker.go()
        worker.stop()
    assert not threads()
