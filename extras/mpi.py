"""--mpi: processes that share each mini-batch: mpiexec -n 4 python3 mnist.py lenet --mpi

All run mnist.py; only process 0 prints and writes files. If one fails, all end.
"""

import atexit
import os
import signal
import sys
import time
import zlib

import numpy as np

try:
    from mpi4py import MPI
except (ImportError, RuntimeError):  # there is no mpi4py, or no MPI
    install = f"{sys.executable} -m pip install mpi4py {'impi-rt' if os.name == 'nt' else 'mpich'}"
    raise ImportError(f"--mpi needs mpi4py and an MPI library: {install}") from None


def together(run, cnn, choose_data, options):
    """Call run in all processes, with the same data and a network that they share."""
    comm = MPI.COMM_WORLD
    try:
        if comm.rank > 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            options.save = options.plot = None
        sets = choose_data_together(choose_data, options, comm)
        print(f"Processes that share each mini-batch: {comm.size}", flush=True)
        cnn.Network = shared(cnn.Network, comm)
        return run(cnn, sets, options)
    except BaseException:
        time.sleep(min(comm.rank, 5))  # if all fail alike, process 0 says so and ends them
        atexit.register(comm.Abort, 1)
        atexit.register(time.sleep, 0.3)  # before: mpiexec has to pass on what was printed
        atexit.register(os.dup2, os.open(os.devnull, os.O_WRONLY), 2)  # MPI would add a line
        raise


def choose_data_together(choose_data, options, comm):
    """As choose_data, first in process 0, which may download. All must get the same."""
    options.seed = comm.bcast(np.random.SeedSequence(options.seed).entropy)  # random, if None
    sets = choose_data(options) if comm.rank == 0 else None
    options.drawn = comm.bcast(options.drawn)
    sets = sets or choose_data(options)
    have = [f"{len(x)} images with checksum {zlib.crc32(y, zlib.crc32(x))}" for x, y in sets]
    have += [f"weights with {zlib.crc32(options.load.read_bytes())}"] if options.load else []
    expected = comm.bcast(have)
    if have != expected:
        raise ValueError(f"process {comm.rank}: expected {expected} as in process 0, got {have}")
    return sets


def shared(network, comm):
    """Return a subclass of network in which all processes of comm take the same steps."""
    asked_to_stop = []  # by Ctrl-C: all have to stop after the same step
    signal.signal(signal.SIGINT, lambda *_: asked_to_stop.append(True))

    class Shared(network):
        def gradients(self, X, Y):
            """Those of the whole mini-batch, of which each process computes its share.

            The loss is a mean, so its gradient is the mean of the shares' gradients, each weighted
            by the size of its share. Allreduce gives all processes the sum.
            """
            own = np.array_split(np.arange(len(X)), comm.size)[comm.rank]
            some = own if len(own) else [0]  # layers take no empty mini-batch; it counts 0 times
            figures = super().gradients(X[some], Y[some])
            arrays = [getattr(layer, f"d{name}") for layer in self.layers for name in layer.weights]
            share = np.concatenate([*map(np.ravel, arrays), figures, [0]], dtype=arrays[0].dtype)
            share *= len(own) / len(X)
            share[-1] = len(asked_to_stop)
            total = np.empty_like(share)
            comm.Allreduce(share, total)
            *parts, (loss, error, stop) = np.split(total, np.cumsum([dW.size for dW in arrays]))
            if stop:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt
            for dW, part in zip(arrays, parts):
                dW[...] = part.reshape(dW.shape)
            return float(loss), float(error)

        def evaluate(self, X, Y):
            """Each process tests its share; loss and error are those of all, the output its own."""
            X_own, Y_own = X[comm.rank :: comm.size], Y[comm.rank :: comm.size]
            A, *figures = super().evaluate(X_own, Y_own) if len(X_own) else (None, 0, 0)
            loss, error = comm.allreduce(len(X_own) * np.array(figures)) / len(X)
            return A, loss, error
    return Shared
