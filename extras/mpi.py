"""--mpi: processes that share each mini-batch. Needs mpi4py and an MPI library.

    mpiexec -n 4 python3 mnist.py lenet --mpi --batch-size 128

All processes run mnist.py; only process 0 prints and writes files. If one fails, all end.
"""

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


def join(cnn, choose_data, options):
    """Make cnn.Network one whose processes share the work; return the data, the same in all."""
    comm = MPI.COMM_WORLD
    end_all_if_one_fails(comm)
    options.seed = comm.bcast(np.random.SeedSequence(options.seed).entropy)  # random, if None
    if comm.rank > 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        options.save = options.plot = None
    sets = choose_data(options) if comm.rank == 0 else None  # it may have to download first
    options.drawn = comm.bcast(options.drawn)
    sets = sets or choose_data(options)
    have = [f"{len(x)} images with checksum {zlib.crc32(y, zlib.crc32(x))}" for x, y in sets]
    have += [f"weights with {zlib.crc32(options.load.read_bytes())}"] if options.load else []
    expected = comm.bcast(have)
    if have != expected:
        raise ValueError(f"process {comm.rank}: expected {expected} as in process 0, got {have}")
    print(f"Processes that share each mini-batch: {comm.size}", flush=True)
    asked_to_stop = []  # all have to stop after the same step
    signal.signal(signal.SIGINT, lambda *_: asked_to_stop.append(True))
    cnn.Network = shared(cnn.Network, comm, asked_to_stop)
    return sets


def end_all_if_one_fails(comm):
    one_line = sys.excepthook

    def fail(*problem):
        time.sleep(min(comm.rank, 5))  # if all fail alike, process 0 says so and ends them
        one_line(*problem)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would add its own lines
        comm.Abort(1)
    sys.excepthook = fail


def shared(network, comm, asked_to_stop):
    """Return a subclass of network in which all processes of comm take the same steps."""
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
            *parts, (loss, error, stop) = np.split(total, np.cumsum([W.size for W in arrays]))
            if stop:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt
            for array, part in zip(arrays, parts):
                array[...] = part.reshape(array.shape)
            return float(loss), float(error)

        def evaluate(self, X, Y):
            """Each process tests its share; loss and error are those of all, the output its own."""
            own = slice(comm.rank, None, comm.size)
            A, sums = None, np.zeros(2)
            if len(X[own]):
                A, *figures = super().evaluate(X[own], Y[own])
                sums = len(X[own]) * np.array(figures)
            loss, error = comm.allreduce(sums) / len(X)
            return A, float(loss), float(error)

    return Shared
