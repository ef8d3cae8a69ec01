"""Write cnn_mine.py beside mnist.py: cnn_naive.py without the bodies of nine tasks."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADING = """# Your layers: cnn_naive.py without the bodies of nine tasks; see exercises/README.md.
# Search for "task 1" and begin. `python3 exercises/check.py` says what is right, open or wrong.
"""
METHODS = {  # the task of each, and a hint
    "FCLayer.forward_propagate": (1, "Keep self.A_prev, self.Z and self.A = g(Z). Return self.A."),
    "ReLU.g": (1, "Z has any shape. Return A."),
    "FCLayer_Softmax.log_g": (2, "Z is (n_m, n), a sample in each row. Return log(g(Z))."),
    "FCLayer_Softmax.g": (2, "Return g(Z)."),
    "FCLayer_Softmax.loss": (2, "self.Z and self.A are kept. Y is (n_m, n), one-hot."),
    "ReLU.times_g_prime": (3, "Return dZ = dA g'(Z). self.A = g(Z) is kept."),
    "FCLayer.weight_gradients": (3, "dZ is (n_m, num_neurons). Keep self.dW and self.db."),
    "FCLayer.input_gradient": (3, "Return dA_prev."),
    "Layer.step": (4, 'Names: getattr(self, "W") is self.W. setattr(self, "W", X) makes it X.'),
    "Network.gradients": (4, "dZ belongs to the last layer. Go down to self.layers[learning[0]]."),
    "ConvLayer.forward_propagate": (5, "Pad; self.make_weights; loop. Keep self.A_prev, self.A."),
    "PoolLayer.forward_propagate": (6, "Keep self.A_prev and self.A. Return self.A."),
    "PoolLayer_Max.pool": (6, "window is (fh, fw). Return one number."),
    "PoolLayer_Avg.pool": (6, "window is (fh, fw). Return one number."),
    "PoolLayer.input_gradient": (7, "dZ is (n_m, oh, ow, n_c). Let self.share do each window."),
    "PoolLayer_Max.share": (7, "dZ is one number. Add to dwindow, (fh, fw), a view."),
    "PoolLayer_Avg.share": (7, "dZ is one number. Add to dwindow, (fh, fw), a view."),
    "ConvLayer.weight_gradients": (8, "dZ is (n_m, oh, ow, n_f). Keep self.dW and self.db."),
    "ConvLayer.input_gradient": (9, "dZ is (n_m, oh, ow, n_f). Return dA_prev, not padded."),
}
STAYS = re.compile(r"^['\"]|_floats|make_weights|= \(?self\.fh|self\._|learning[ ,]")


def methods(source):
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    found = {f"{c.name}.{getattr(n, 'name', '')}": n for c in classes for n in c.body}
    return {name: found[name] for name in METHODS}


def skeleton(source):
    """Return the source with a hint and an exception in place of what is to be written."""
    lines = source.splitlines()
    for name, method in methods(source).items():
        (task, hint), body = METHODS[name], method.body
        while STAYS.search(ast.unparse(body[0])):
            del body[0]
        first, last = body[0].lineno - 1, body[-1].end_lineno
        todo = f'        # {hint}\n        raise NotImplementedError("task {task}: {name}")'
        lines[first:last] = [todo, *[None] * (last - first - 1)]  # line numbers stay
    return HEADING + "\n".join(line for line in lines if line is not None) + "\n"


if __name__ == "__main__":
    mine = ROOT / "cnn_mine.py"
    if mine.exists():
        sys.exit(f"{mine} exists, and stays as it is. To begin again, move it away.")
    mine.write_text(skeleton((ROOT / "cnn_naive.py").read_text("utf-8")), "utf-8")
    print(f'{mine}: search for "task 1" and begin, with exercises/README.md beside you.')
