"""Copies and elementary functions that LLVM turns into vector instructions; otherwise it would call the C library for each value."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit_inline

F = np.float32


@jit_inline
def copy_vector(target: np.ndarray, source: np.ndarray) -> None:
    """Set the first values of `target` to those of `source`.

    An assignment of arrays does the same, but numba compiles checks with it and the text of their error: 3 s of processor time for the
    first assignment in a process, 0.4 s for each further one. This loop takes 0.1 s.
    """
    for j in range(len(source)):
        target[j] = source[j]


@jit_inline
def exp(x: F) -> F:
    # 2^n * e^r with |r| <= ln(2) / 2; the polynomial is that of Cephes' expf, good to an ulp or two.
    x = F(88) if x > F(88) else x
    x = F(-87) if x < F(-87) else x
    n = np.floor(x * F(1.44269504088896341) + F(0.5))
    r = x - n * F(0.693359375) + n * F(2.12194440e-4)
    p = F(1.9875691500e-4)
    p = p * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + F(1)) * power


@jit_inline
def sigmoid(x: F) -> F:
    return F(1) / (F(1) + exp(-x))


@jit_inline
def tanh(x: F) -> F:
    # A quotient of polynomials takes half the time of an exponential. The coefficients are those of Eigen's `ptanh`, which
    # TensorFlow uses. The error is at most 3e-7; beyond the bound the value is exactly 1, so that no gradient passes.
    square = x * x
    p = F(-2.76076847742355e-16)
    p = p * square + F(2.00018790482477e-13)
    p = p * square - F(8.60467152213735e-11)
    p = p * square + F(5.12229709037114e-08)
    p = p * square + F(1.48572235717979e-05)
    p = p * square + F(6.37261928875436e-04)
    p = p * square + F(4.89352455891786e-03)
    q = F(1.19825839466702e-06)
    q = q * square + F(1.18534705686654e-04)
    q = q * square + F(2.26843463243900e-03)
    q = q * square + F(4.89352518554385e-03)
    value = x * p / q
    value = F(1) if x > F(7.90531110763549805) else value
    return F(-1) if x < F(-7.90531110763549805) else value
