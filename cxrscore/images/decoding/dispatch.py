"""A thread that keeps workers busy with the tasks of one batch after the other, and outlives each of them.

In    batches of tasks, opened as their part of the ring is given back.
Out   for each batch, in order, a Decoded a task.

It is a thread as the consumer may be in a forward pass for long. What a file can do to its worker costs that
file alone:

  crash   noticed at once. The file is tried once more, in a new worker: somebody else may have killed the
          first. A second crash is WORKER_CRASH. What else the worker had to do is done by others.
  hang    longer than `timeout_s` at one file: the worker writes where it is, and is killed. TIMEOUT, at once:
          a second try, when the others are done, is the consumer's (pool.second_try).
"""

import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import Unreadable, WorkersLost, promise
from cxrscore.images.decoding.decode import Decoded, Wanted
from cxrscore.images.decoding.worker import READY
from cxrscore.images.decoding.worker_process import Task, Worker

AHEAD = 4  # tasks that a worker holds: it need not wait for the next, and a hang delays three others at most
TICK_S = 0.25
ASLEEP_S = 1.0  # between two looks at the clock: after more, this process was stopped (Ctrl-Z) or starved
START_S = 60.0  # a cold disk, a hundred workers at once
STILLBORN = 3  # workers that end before they are ready, while no other is heard of


class Dispatcher:
    """Workers and the thread that feeds them. `take`, `give_back` and `close` are the consumer's side."""

    def __init__(
        self,
        batches: Iterator[list[Task]],
        file: int,
        ring: NDArray[np.uint8],  # (depth, B, S, S), in the memory of `file`
        larger: NDArray[np.uint8],  # (depth, B, T, T), behind it; T is 0 where no second copy is wanted
        *,
        workers: int,
        timeout_s: float,
        wanted: Wanted,
    ) -> None:
        self._batches = batches
        self._file = file
        self._ring, self._larger = ring, larger
        self._count = workers
        self._timeout_s = timeout_s
        self._wanted = wanted
        self._workers: list[Worker] = []
        self._stillborn = 0
        self._room = len(ring)  # batches that the ring has room for
        self._waiting: deque[Task] = deque()  # for a worker
        self._open: deque[list[Task]] = deque()  # batches under way
        self._answers: dict[int, Decoded] = {}  # by index: later ones than the next
        self._batch: list[Decoded] = []  # of the oldest open batch, up to the next answer to come
        self._done: queue.SimpleQueue[list[Decoded] | BaseException] = queue.SimpleQueue()
        self._clock, self._looked = 0.0, time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()  # a byte: a batch given back; its end: the consumer left
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    def take(self) -> list[Decoded]:
        """The next batch's. Raises what went wrong in the thread."""
        items = self._done.get()
        if not isinstance(items, BaseException):
            return items
        try:
            raise items
        finally:
            del items  # its traceback holds this frame: the ring would wait for the garbage collector

    def give_back(self) -> None:
        """The oldest batch's part of the ring may be written again."""
        with suppress(ConnectionError):  # the thread has left, as it does after the last batch
            self._rope.send(b"x")

    def close(self) -> None:
        """No worker is left after it, nor a thread."""
        self._rope.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._selector.register(self._bell, selectors.EVENT_READ)
            for _ in range(self._count):
                self._hire()  # here: a worker dies with the thread that started it (PR_SET_PDEATHSIG)
            self._serve()
        except BaseException as error:  # noqa: BLE001 - raised where the consumer waits
            self._done.put(error)
        finally:
            for worker in self._workers:
                worker.kill()
                worker.close()
            self._selector.close()
            self._bell.close()

    def _serve(self) -> None:
        """Until the last batch is done or the consumer has left."""
        while self._fill() or self._open:
            self._feed()
            heard = self._selector.select(TICK_S)
            self._tick()
            for key, _ in heard:
                if key.data is not None:
                    self._hear(key.data)
                elif rung := len(self._bell.recv(1024)):
                    self._room += rung
                else:
                    return
            self._watch()

    def _fill(self) -> bool:
        """Open as many batches as there is room for. False: there are no more."""
        while self._room:
            tasks = next(self._batches, None)
            if tasks is None:
                return False
            self._room -= 1
            self._open.append(tasks)
            self._waiting.extend(tasks)
        return True

    def _feed(self) -> None:
        """Each waiting task goes to the worker that has the least to do."""
        ready = [worker for worker in self._workers if worker.ready]
        while self._waiting and ready:
            worker = min(ready, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) >= AHEAD:
                break
            if not worker.tasks:
                worker.began = self._clock
            worker.give(self._waiting.popleft())
        for worker in self._workers:
            worker.send()

    def _hear(self, worker: Worker) -> None:
        self._listen(worker)
        if worker.gone:
            self._bury(worker, guilty=True)

    def _listen(self, worker: Worker) -> None:
        for line in worker.receive():
            if line == READY:
                worker.ready = True
            else:
                self._settle(worker.tasks.popleft(), line)
            self._stillborn = 0
            worker.began = self._clock  # the next of its tasks

    def _settle(self, task: Task, answer: list[Any]) -> None:
        index, buffer, row, sha256, width, height, orientation, coloured, nbytes, kind, message = answer
        promise((index, buffer, row) == (task.index, task.buffer, task.row), "an answer to another question")
        facts = (sha256, width, height, orientation)
        if kind:
            fault = Unreadable(kind, message)
            self._answer(Decoded(index, task.path, None, *facts, fault, nbytes))
            return
        second = self._larger[buffer, row] if self._wanted.larger else None
        pixels = self._ring[buffer, row]
        self._answer(Decoded(index, task.path, pixels, *facts, None, nbytes, second, coloured))

    def _answer(self, one: Decoded) -> None:
        """Answers come in any order, and are passed on in order, a batch at a time."""
        self._answers[one.index] = one
        while self._open and (next_one := self._answers.pop(self._open[0][len(self._batch)].index, None)):
            self._batch.append(next_one)
            if len(self._batch) == len(self._open[0]):
                self._done.put(self._batch)
                self._open.popleft()
                self._batch = []

    def _tick(self) -> None:
        """The workers' clock stands still while this process does: their answers have not been heard."""
        now = time.monotonic()
        self._clock += min(now - self._looked, ASLEEP_S)
        self._looked = now

    def _watch(self) -> None:
        """End the workers that hang, once what they answered is heard."""
        for worker in tuple(self._workers):
            busy, limit_s = (worker.tasks, self._timeout_s) if worker.ready else (True, START_S)
            if busy and self._clock - worker.began > limit_s:
                self._end(worker)

    def _end(self, worker: Worker) -> None:
        at = next(iter(worker.tasks), None)
        worker.abort()
        self._listen(worker)  # it may have answered at the last moment
        if worker.ready and worker.tasks and worker.tasks[0] is at:
            message = f"no pixels after {self._timeout_s:g} s{worker.where()}"
            self._fail(worker.tasks.popleft(), "TIMEOUT", message)
        self._bury(worker, guilty=False)

    def _bury(self, worker: Worker, *, guilty: bool) -> None:
        """Its tasks go to others. `guilty`: by its own doing, or that of the file it was at."""
        worker.kill()  # also where only its socket closed
        retry = None
        if not worker.ready:
            self._refuse_stillborn(worker)
        elif guilty and worker.tasks:
            retry = self._try_again(worker.tasks.popleft(), worker.cause())
        self._waiting.extendleft(reversed(worker.tasks))
        self._selector.unregister(worker.channel)
        self._workers.remove(worker)
        worker.close()
        self._hire(retry)

    def _refuse_stillborn(self, worker: Worker) -> None:
        self._stillborn += 1
        if self._stillborn == STILLBORN:
            words = worker.last_words().strip().splitlines() or ["it wrote nothing"]
            raise WorkersLost(
                f"decoding processes fail to start; the last one was ended by {worker.cause()}: {words[0]}",
                *words[1:],
            )

    def _try_again(self, task: Task, cause: str) -> Task | None:
        task.crashes += 1
        if task.crashes == 1:
            return task
        self._fail(task, "WORKER_CRASH", f"it ended two decoding processes, the last by {cause}")
        return None

    def _hire(self, task: Task | None = None) -> None:
        worker = Worker(self._file, self._ring.shape, wanted=self._wanted)
        worker.began = self._clock
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        if task is not None:
            worker.give(task)

    def _fail(self, task: Task, kind: str, message: str) -> None:
        self._answer(Decoded(task.index, task.path, fault=Unreadable(kind, message)))
