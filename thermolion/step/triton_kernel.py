"""The fused step of ThermoLion as a Triton kernel: one program a row, 1024 elements of one tensor.

`fused` launches it. If Triton is not installed, this module is empty.
"""

try:
    import triton
    import triton.language as tl
except ImportError:
    pass
else:
    PAIRS = tl.constexpr(512)
    UNIT = tl.constexpr(2.0**-31)
    TURN = tl.constexpr(3.141592653589793 * 2.0**-31)

    @triton.jit
    def _word(words, places, first, second):
        """Return the words of `places` in a row as float32, -2³¹ … 2³¹, as `noise` makes them."""
        word = tl.load(words + places).to(tl.uint32, bitcast=True) ^ first
        factor = tl.load(words + 2 * PAIRS + places).to(tl.uint32, bitcast=True) ^ second
        word = word * factor
        return word.to(tl.int32, bitcast=True).to(tl.float32)

    @triton.jit
    def step_rows(
        pointers,  # (5, tensors) int64: addresses of p, g, m, v and the gate's second moment
        tensors,
        owners,  # (rows,) int64: to which tensor a row belongs
        numbers,  # (rows,) int64: which of its rows it is
        counts,  # (tensors,) int64: elements
        words,  # (2, 1024) int32: `noise.row_words`
        keys,  # (2, rows) int32: `noise.row_keys`
        rows,
        scales,  # (tensors,) float32: of the noise
        lr_tensor,
        grad_scale,
        found_inf,
        lr,
        weight_decay,
        decay,  # 1 - lr·wd, rounded once
        beta1,
        gain1,  # 1 - β1, of the unrounded β1
        beta2,
        gain2,
        eps,
        alignment,
        solid_gain,
        bound,  # of |m|/√v
        element: tl.constexpr,
        has_noise: tl.constexpr,
        has_own_gate: tl.constexpr,  # the gate has a second moment of its own
        gives_directions: tl.constexpr,  # write the direction in place of p
        has_lr_tensor: tl.constexpr,
        has_grad_scale: tl.constexpr,
        has_found_inf: tl.constexpr,
    ):
        row = tl.program_id(0).to(tl.int64)
        owner = tl.load(owners + row)
        count = tl.load(counts + owner)
        param = tl.load(pointers + owner).to(tl.pointer_type(element))
        gradient = tl.load(pointers + tensors + owner).to(tl.pointer_type(element))
        exp_avg = tl.load(pointers + 2 * tensors + owner).to(tl.pointer_type(element))
        exp_avg_sq = tl.load(pointers + 3 * tensors + owner).to(tl.pointer_type(element))
        places = tl.arange(0, PAIRS)
        begin = tl.load(numbers + row) * (2 * PAIRS)

        if has_found_inf:  # the step is skipped by writing nothing: no host is asked
            count = tl.where(tl.load(found_inf) != 0, 0, count)
        if has_lr_tensor:
            lr = tl.load(lr_tensor).to(tl.float32)
            decay = 1.0 - lr * weight_decay
        if has_noise:
            first = tl.load(keys + row).to(tl.uint32, bitcast=True)
            second = tl.load(keys + rows + row).to(tl.uint32, bitcast=True)
            uniform = (tl.abs(_word(words, places, first, second)) + 0.5) * UNIT
            radius = tl.sqrt_rn(tl.maximum(tl.log(uniform) * -2.0, 0.0))
            angle = _word(words, places + PAIRS, first, second) * TURN
            scale = tl.load(scales + owner)

        for half in tl.static_range(2):
            at = begin + half * PAIRS + places
            inside = at < count
            g = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
            m = tl.load(exp_avg + at, mask=inside, other=0.0).to(tl.float32)
            v = tl.load(exp_avg_sq + at, mask=inside, other=0.0).to(tl.float32)
            if has_grad_scale:
                g = tl.div_rn(g, tl.load(grad_scale).to(tl.float32))
            # In this order the bits are those of torch's mul_, add_(alpha) and addcmul_.
            m = tl.fma(g, gain1, m * beta1)
            v = tl.fma(gain2 * g, g, v * beta2)
            tl.store(exp_avg + at, m.to(element), mask=inside)
            tl.store(exp_avg_sq + at, v.to(element), mask=inside)

            magnitude = tl.div_rn(m, tl.sqrt_rn(v) + eps)
            magnitude = tl.maximum(tl.minimum(magnitude, bound), -bound)
            ratio = tl.abs(magnitude)
            if has_own_gate:
                of_gate = tl.load(pointers + 4 * tensors + owner).to(tl.pointer_type(element))
                gate_sq = tl.load(of_gate + at, mask=inside, other=0.0).to(tl.float32)
                ratio = tl.abs(tl.div_rn(m, tl.sqrt_rn(gate_sq) + eps))
            gate = 1.0 - 2.0 / (tl.exp(2.0 * ratio) + 1.0)  # tanh of what is never negative
            sign = tl.where(m > 0, 1.0, 0.0) - tl.where(m < 0, 1.0, 0.0)
            gas = sign * (1.0 + tl.where(sign * g > 0, alignment, 0.0))
            if has_noise:
                gas += (tl.cos(angle) if half == 0 else tl.sin(angle)) * radius * scale
            direction = gas * (1.0 - gate) + (magnitude * solid_gain) * gate
            if gives_directions:
                tl.store(param + at, direction.to(element), mask=inside)
            else:
                p = tl.load(param + at, mask=inside, other=0.0).to(tl.float32)
                p = tl.fma(direction, -lr, p * decay)
                tl.store(param + at, p.to(element), mask=inside)
