"""examples/record.py moves digits as it says."""

import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import record


class Moved(unittest.TestCase):
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)

    def moved_by(self, matrix, shift):
        """The images, all of them moved by this matrix and this shift."""

        class Fixed:  # in place of a random number generator
            def uniform(self, low, high, shape):
                numbers = matrix - np.eye(2) if shape[2] == 2 else np.transpose([shift])
                return np.broadcast_to(numbers, shape)

        return record.moved(self.images, Fixed())

    def test_no_change(self):
        moved = self.moved_by(np.eye(2), [0, 0])
        self.assertEqual(moved.dtype, np.float32)
        np.testing.assert_array_equal(moved, self.images)

    def test_shift_by_two_rows_up_and_three_columns_to_the_right(self):
        moved = self.moved_by(np.eye(2), [2, -3])
        np.testing.assert_array_equal(moved[:, :-2, 3:], self.images[:, 2:, :-3])
        self.assertEqual(max(moved[:, -2:].max(), moved[:, :, :3].max()), 0)  # black

    def test_half_a_pixel_is_the_mean_of_two(self):
        moved = self.moved_by(np.eye(2), [0.5, 0])
        means = (self.images[:, :-1] + self.images[:, 1:]) / 2
        np.testing.assert_allclose(moved[:, :-1], means, atol=1e-6)

    def test_quarter_of_a_turn(self):
        moved = self.moved_by(np.array([[0, -1], [1, 0]]), [0, 0])
        np.testing.assert_allclose(moved, np.rot90(self.images, -1, axes=(1, 2)), atol=1e-5)

    def test_each_image_in_its_own_way(self):
        same = np.repeat(self.images[:1], 2, axis=0)
        first, second = record.moved(same, np.random.default_rng(0))
        self.assertGreater(np.abs(first - second).max(), 0.1)


if __name__ == "__main__":
    unittest.main()
