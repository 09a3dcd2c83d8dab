"""The clipped, projected LSTM of bilm-tf, forward and backward.

One time step of one direction, for a row with input x, output h and cell c of the step before:

    [i, g, f, o] = [x, h] kernel + bias          four gates of C values each; the bias includes the 1 of the forget gate
    c = clip(sigmoid(f) * c + sigmoid(i) * tanh(g), cell_clip)
    h = clip((sigmoid(o) * tanh(c)) projection, proj_clip)

The gradient of a clipped value is 0, also where the value is exactly at the clip. `reference.py` is this definition. The fast forms
differ in how much one call computes:

| File | One call computes |
|---|---|
| `stacked_lstm.py`, `_triton_kernels.py` | on a GPU: a step of both directions |
| `_numba_loop.py`, `_numba_kernels.py` | on a CPU: all steps of a direction, products included |
| `torch_steps.py`, `_numba_gates.py` | on a CPU: the products, and the element-wise part, of one step of a direction |

`clipped_lstm.py` is the public function; `direction.py` runs one direction; `window.py` holds what the forms share: the buffers, and
where each step's rows lie in them.
"""
