"""Elementary functions for compiled loops, of which LLVM makes vectors; it would call the C library for each value otherwise."""

import numpy as np

from .compiled import inlined

F = np.float32


@inlined
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


@inlined
def sigmoid(x: F) -> F:
    return F(1) / (F(1) + exp(-x))


@inlined
def tanh(x: F) -> F:
    # Near 0 the difference below would lose digits; there Cephes' polynomial takes over.
    square = x * x
    p = F(-5.70498872745e-3)
    p = p * square + F(2.06390887954e-2)
    p = p * square - F(5.37397155531e-2)
    p = p * square + F(1.33314422036e-1)
    p = p * square - F(3.33332819422e-1)
    near = p * square * x + x
    far = F(1) - F(2) / (F(1) + exp(x + x))
    return near if abs(x) < F(0.625) else far
