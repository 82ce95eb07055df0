"""The fused step of ThermoLion in Triton: its sums of squares, its scales, and the step itself.

`fused` launches them, one after the other. Rows are those of `noise`: 1024 elements of one tensor.
If Triton is not installed, this module is empty.
"""

try:
    import triton
    import triton.language as tl
except ImportError:
    pass
else:
    PAIRS = tl.constexpr(512)
    ROW = tl.constexpr(1024)
    UNIT = tl.constexpr(2.0**-31)
    # Those of `noise`, which has their sources.
    FIRST = tl.constexpr(0x85EBCA6B)
    SECOND = tl.constexpr(0xC2B2AE35)
    GOLDEN = tl.constexpr(0x9E3779B9)
    FLOOR = tl.constexpr(1e-10)  # `exploration.NOISE_VARIANCE_FLOOR`
    # Rows of the table of addresses, in the order of `fused.Launcher`.
    GRAD = tl.constexpr(1)
    EXP_AVG = tl.constexpr(2)
    EXP_AVG_SQ = tl.constexpr(3)
    GATE_SQ = tl.constexpr(4)
    STEP = tl.constexpr(5)
    MEAN = tl.constexpr(6)

    @triton.jit
    def _mix(word):
        """Return `noise.mix` of uint32."""
        word = word ^ (word >> 16)
        word = word * FIRST
        word = word ^ (word >> 13)
        word = word * SECOND
        return word ^ (word >> 16)

    @triton.jit
    def _word(words, places, first, second):
        """Return the words of `places` in a row as float32, -2³¹ … 2³¹, as `noise` makes them."""
        word = tl.load(words + places).to(tl.uint32, bitcast=True) ^ first
        factor = tl.load(words + ROW + places).to(tl.uint32, bitcast=True) ^ second
        word = word * factor
        return word.to(tl.int32, bitcast=True).to(tl.float32)

    @triton.jit
    def _turn(word):
        """Return sine and cosine of word·π·2⁻³¹, to 2 units in the last place of 1.

        After a reduction to ±π/4 without rounding, by Taylor's series. The functions of the
        device have a path for large angles, for which it would keep registers.
        """
        part = word * UNIT  # of half a turn, -1 … 1
        quarter = tl.floor(tl.fma(part, 2.0, 0.5))  # -2 … 2
        rest = tl.fma(quarter, -0.5, part) * 3.14159265358979
        square = rest * rest
        sine = tl.fma(square, 2.7557319e-6, -1.9841270e-4)
        sine = tl.fma(sine, square, 8.3333333e-3)
        sine = tl.fma(sine, square, -1.6666667e-1)
        sine = tl.fma(sine * square, rest, rest)
        cosine = tl.fma(square, 2.4801587e-5, -1.3888889e-3)
        cosine = tl.fma(cosine, square, 4.1666667e-2)
        cosine = tl.fma(cosine, square, -0.5)
        cosine = tl.fma(cosine, square, 1.0)
        turns = quarter.to(tl.int32) & 3
        swapped = (turns & 1) != 0
        sine, cosine = tl.where(swapped, cosine, sine), tl.where(swapped, sine, cosine)
        sine = tl.where(turns >= 2, -sine, sine)
        cosine = tl.where((turns == 1) | (turns == 2), -cosine, cosine)
        return sine, cosine

    @triton.jit
    def _address(pointers, tensors, kind, owner):
        return tl.load(pointers + kind * tensors + owner)

    @triton.jit(do_not_specialize=["tensors"])
    def square_rows(
        pointers,  # (7, tensors) int64: addresses
        tensors,
        owners,  # (rows,) int64: to which tensor a row belongs
        numbers,  # (rows,) int64: which of its rows it is
        counts,  # (tensors,) int64: elements
        grad_scale,
        last_noisy,  # number of the last step with noise
        squares,  # (rows,) float32: Σg² of each row, written
        element: tl.constexpr,
        has_grad_scale: tl.constexpr,
    ):
        """Add up the squared gradients of every row, of those tensors that still explore."""
        row = tl.program_id(0).to(tl.int64)
        owner = tl.load(owners + row)
        step = tl.load(_address(pointers, tensors, STEP, owner).to(tl.pointer_type(tl.float32)))
        if step < last_noisy:
            count = tl.load(counts + owner)
            address = _address(pointers, tensors, GRAD, owner)
            begin = tl.multiple_of(tl.load(numbers + row) * ROW, 1024)
            at = begin + tl.arange(0, ROW)
            if (begin + ROW <= count) & ((address & 15) == 0):
                gradient = tl.multiple_of(address.to(tl.pointer_type(element)), 16)
                g = tl.load(gradient + at).to(tl.float32)
            else:
                gradient = address.to(tl.pointer_type(element))
                g = tl.load(gradient + at, mask=at < count, other=0.0).to(tl.float32)
            if has_grad_scale:
                g = tl.div_rn(g, tl.load(grad_scale).to(tl.float32))
            tl.store(squares + row, tl.sum(g * g, axis=0))

    @triton.jit(do_not_specialize=["tensors", "rows"])
    def count_steps(
        pointers,
        tensors,
        counts,
        starts,  # (tensors + 1,) int64: the first row of each tensor, and the number of rows
        streams,  # (2, tensors) int32: `noise.stream_key`
        squares,
        found_inf,
        log_decay,  # ln(temp_decay), as the sum of two float32
        log_decay_rest,
        last_noisy,
        beta2,
        gain2,
        scales,  # (tensors,) float32: of the noise, written
        keys,  # (2, tensors) int32: the keys of this step, written
        has_noise: tl.constexpr,
        has_found_inf: tl.constexpr,
    ):
        """Count the step of each tensor, and bring its mean(v), scale and keys up to it."""
        owner = tl.program_id(0).to(tl.int64)
        counter = _address(pointers, tensors, STEP, owner).to(tl.pointer_type(tl.float32))
        taken = tl.load(counter)
        is_taken = True
        if has_found_inf:
            is_taken = tl.load(found_inf) == 0
        step = taken + 1.0
        if is_taken:
            tl.store(counter, step)
        if has_noise:
            scale = 0.0
            if is_taken & (taken < last_noisy):
                places = tl.arange(0, ROW)
                total = tl.zeros((ROW,), dtype=tl.float32)
                end = tl.load(starts + owner + 1)
                for begin in range(tl.load(starts + owner), end, ROW):
                    at = begin + places
                    total += tl.load(squares + at, mask=at < end, other=0.0)
                count = tl.maximum(tl.load(counts + owner), 1).to(tl.float32)
                holder = _address(pointers, tensors, MEAN, owner).to(tl.pointer_type(tl.float32))
                fresh = tl.div_rn(tl.sum(total, axis=0), count)
                mean = tl.load(holder) * beta2 + fresh * gain2
                tl.store(holder, mean)
                fine = step.to(tl.float64)
                temperature = tl.exp(fine * log_decay + fine * log_decay_rest).to(tl.float32)
                scale = tl.sqrt_rn(temperature * mean + FLOOR)
                # Not for a NaN, not for infinity, and not before there is a gradient.
                scale = tl.where((mean > 0) & (scale < float("inf")), scale, 0.0)
            tl.store(scales + owner, scale)
            word = step.to(tl.int64).to(tl.uint32)
            for half in tl.static_range(2):
                stream = tl.load(streams + half * tensors + owner).to(tl.uint32, bitcast=True)
                key = _mix(stream ^ word).to(tl.int32, bitcast=True)
                tl.store(keys + half * tensors + owner, key)

    @triton.jit
    def _noise_of(words, keys, tensors, owner, number, scale):
        """Return the scaled draws of both halves of a row."""
        shift = number.to(tl.uint32) * GOLDEN
        first = _mix(tl.load(keys + owner).to(tl.uint32, bitcast=True) + shift)
        second = _mix(tl.load(keys + tensors + owner).to(tl.uint32, bitcast=True) + shift) | 1
        places = tl.arange(0, PAIRS)
        uniform = (tl.abs(_word(words, places, first, second)) + 0.5) * UNIT
        radius = tl.sqrt_rn(tl.maximum(tl.log(uniform) * -2.0, 0.0)) * scale
        sine, cosine = _turn(_word(words, places + PAIRS, first, second))
        return cosine * radius, sine * radius

    @triton.jit
    def _load(address, at, count, element: tl.constexpr, whole: tl.constexpr):
        if whole:
            pointer = tl.multiple_of(address.to(tl.pointer_type(element)), 16)
            return tl.load(pointer + at).to(tl.float32)
        pointer = address.to(tl.pointer_type(element))
        return tl.load(pointer + at, mask=at < count, other=0.0).to(tl.float32)

    @triton.jit
    def _store(address, at, count, value, element: tl.constexpr, whole: tl.constexpr):
        if whole:
            pointer = tl.multiple_of(address.to(tl.pointer_type(element)), 16)
            tl.store(pointer + at, value.to(element))
        else:
            pointer = address.to(tl.pointer_type(element))
            tl.store(pointer + at, value.to(element), mask=at < count)

    @triton.jit
    def _step_half(
        param,
        gradient,
        exp_avg,
        exp_avg_sq,
        of_gate,
        at,
        count,
        noise,
        unscale,
        lr,
        decay,
        beta1,
        gain1,
        beta2,
        gain2,
        eps,
        alignment,
        solid_gain,
        bound,
        element: tl.constexpr,
        has_noise: tl.constexpr,
        has_own_gate: tl.constexpr,
        has_bound: tl.constexpr,
        has_grad_scale: tl.constexpr,
        gives_directions: tl.constexpr,
        whole: tl.constexpr,
    ):
        """Step 512 elements; if they are `whole`, none is missing and all lie on 16 bytes."""
        g = _load(gradient, at, count, element, whole)
        m = _load(exp_avg, at, count, element, whole)
        v = _load(exp_avg_sq, at, count, element, whole)
        if has_grad_scale:
            g = tl.div_rn(g, unscale)
        # In this order the bits are those of torch's mul_, add_(alpha) and addcmul_.
        m = tl.fma(g, gain1, m * beta1)
        v = tl.fma(gain2 * g, g, v * beta2)
        _store(exp_avg, at, count, m, element, whole)
        _store(exp_avg_sq, at, count, v, element, whole)

        magnitude = tl.div_rn(m, tl.sqrt_rn(v) + eps)
        if has_bound:  # a NaN is neither above nor below, and stays
            magnitude = tl.where(magnitude > bound, bound, magnitude)
            magnitude = tl.where(magnitude < -bound, -bound, magnitude)
        ratio = tl.abs(magnitude)
        if has_own_gate:
            gate_sq = _load(of_gate, at, count, element, whole)
            ratio = tl.abs(tl.div_rn(m, tl.sqrt_rn(gate_sq) + eps))
        gate = 1.0 - 2.0 / (tl.exp(2.0 * ratio) + 1.0)  # tanh of what is never negative
        sign = tl.where(m > 0, 1.0, 0.0) - tl.where(m < 0, 1.0, 0.0)
        gas = sign * (1.0 + tl.where(sign * g > 0, alignment, 0.0))
        if has_noise:
            gas += noise
        direction = gas * (1.0 - gate) + (magnitude * solid_gain) * gate
        if gives_directions:
            _store(param, at, count, direction, element, whole)
        else:
            p = _load(param, at, count, element, whole)
            p = tl.fma(direction, -lr, p * decay)
            _store(param, at, count, p, element, whole)

    @triton.jit(do_not_specialize=["tensors"])
    def step_rows(
        pointers,
        tensors,
        owners,
        numbers,
        counts,
        words,  # (2, 1024) int32: `noise.row_words`
        keys,
        scales,
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
        has_bound: tl.constexpr,
        gives_directions: tl.constexpr,  # write the direction in place of p
        has_lr_tensor: tl.constexpr,
        has_grad_scale: tl.constexpr,
        has_found_inf: tl.constexpr,
    ):
        """Take the step of every row."""
        row = tl.program_id(0).to(tl.int64)
        owner = tl.load(owners + row)
        count = tl.load(counts + owner)
        number = tl.load(numbers + row)
        begin = tl.multiple_of(number * ROW, 1024)
        param = _address(pointers, tensors, 0, owner)
        gradient = _address(pointers, tensors, GRAD, owner)
        exp_avg = _address(pointers, tensors, EXP_AVG, owner)
        exp_avg_sq = _address(pointers, tensors, EXP_AVG_SQ, owner)
        of_gate = _address(pointers, tensors, GATE_SQ, owner)

        if has_found_inf:  # the step is skipped by writing nothing: no host is asked
            count = tl.where(tl.load(found_inf) != 0, 0, count)
        if has_lr_tensor:
            lr = tl.load(lr_tensor).to(tl.float32)
            decay = 1.0 - lr * weight_decay
        unscale = 1.0
        if has_grad_scale:
            unscale = tl.load(grad_scale).to(tl.float32)
        first_half = begin + tl.arange(0, PAIRS)
        one = 0.0
        other = 0.0
        if has_noise:
            one = tl.zeros((PAIRS,), dtype=tl.float32)
            other = tl.zeros((PAIRS,), dtype=tl.float32)
            scale = tl.load(scales + owner)
            if scale != 0:
                one, other = _noise_of(words, keys, tensors, owner, number, scale)
        # Gradients in the buckets of DDP begin anywhere.
        places = param | gradient | exp_avg | exp_avg_sq | of_gate
        if (begin + ROW <= count) & ((places & 15) == 0):
            for half in range(2):
                _step_half(
                    param, gradient, exp_avg, exp_avg_sq, of_gate,
                    first_half + half * PAIRS, count, tl.where(half == 0, one, other),
                    unscale, lr, decay, beta1, gain1, beta2, gain2, eps, alignment, solid_gain,
                    bound, element, has_noise, has_own_gate, has_bound, has_grad_scale,
                    gives_directions, True,
                )  # fmt: skip
        else:
            for half in range(2):
                _step_half(
                    param, gradient, exp_avg, exp_avg_sq, of_gate,
                    first_half + half * PAIRS, count, tl.where(half == 0, one, other),
                    unscale, lr, decay, beta1, gain1, beta2, gain2, eps, alignment, solid_gain,
                    bound, element, has_noise, has_own_gate, has_bound, has_grad_scale,
                    gives_directions, False,
                )  # fmt: skip
