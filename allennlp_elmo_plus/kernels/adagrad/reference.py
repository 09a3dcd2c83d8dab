"""One Adagrad update as it is defined, in plain PyTorch."""

from torch import Tensor


def adagrad_update(param: Tensor, grad: Tensor, grad_sum: Tensor, lr: float, scale: float) -> None:
    """Update `param` and `grad_sum` in place: `grad_sum += (scale * grad)^2`, `param -= lr * scale * grad / sqrt(grad_sum)`.

    Args:
        param: A parameter of any shape.
        grad: Its gradient, dense or sparse.
        grad_sum: The sum of squares of all gradients so far, positive, of the shape of `param`.
        lr: The learning rate.
        scale: The factor of the gradient that a clip by the global norm determines.
    """
    scaled = scale * grad.to_dense()
    grad_sum += scaled**2
    param -= lr * scaled / grad_sum.sqrt()
