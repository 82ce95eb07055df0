/* ThermoLion's step in one pass over p, g, m and v, in float32: the arithmetic of `reference`.
 *
 * Plain C, called from `one_pass`. Compile it with -ffp-contract=off:
 * m and v have the bits of torch's mul_, add_(alpha) and addcmul_, which round a product and a sum
 * once if the processor can, and twice if it can't. Loops over rows are written for vectors of any
 * width, and give the same bits by all of them.
 */
#include <math.h>
#include <stdint.h>

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF)
#define FMA(a, b, c) fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#define ROW 1024 /* of `noise`, with its pairs (j, j + 512) and its constants */
#define PAIRS 512
#define BATCH 16 /* rows that are drawn at once: half as long if memory is read in longer runs */
#define FIRST 0x85EBCA6Bu
#define SECOND 0xC2B2AE35u
#define GOLDEN 0x9E3779B9u

#define FROZEN 0.01 /* of `exploration` */
#define FLOOR 1e-10f
#define ROOT_HALF 0x3f3504f3u /* the bits of √½ */

#define INLINE static inline __attribute__((always_inline))

typedef struct {
    float lr, decay; /* decay: 1 - lr·weight_decay, rounded once */
    float beta1, gain1, beta2, gain2; /* gain: 1 - β, of the unrounded β */
    float eps, alignment, solid_gain;
} Hyper;

typedef struct { /* of whole numbers of 64 bits each, as Python fills them in */
    float *param; /* or where to write the direction */
    const float *grad;
    float *exp_avg, *exp_avg_sq;
    const float *gate_sq; /* the second moment of the gate; that of v if it has none of its own */
    float *step, *mean; /* how many steps, and mean(v); no mean without noise */
    int64_t count; /* elements */
    int64_t first_row; /* among those of all tensors */
} Tensor;

typedef struct { /* of all tensors, if one of them explores */
    const int32_t *words; /* (2, 1024): `noise.row_words` */
    const int64_t *streams; /* (2, tensors): `noise.stream_key` */
    const double *temperatures; /* (tensors,) */
    const float *norms; /* (tensors,): root of Σg² */
    float *scales; /* (tensors,): to write to */
} Noise;

/* tanh of x >= 0, NaN of NaN: x·P(x²)/Q(x²), fitted on [0, 7.9] for the least relative error by
 * Lawson's reweighted least squares in 50 digits (6e-9, before rounding); never above 1. Beyond
 * 7.9 it is that of 7.9, less than 3e-7 below 1. */
INLINE float tanh_of(float x)
{
    x = x > 7.9f ? 7.9f : x;
    const float z = x * x;
    float p = 1.543376527e-8f, q = 8.601122576e-7f;
    p = FMA(p, z, 2.20273388e-5f);
    q = FMA(q, z, 3.424054949e-4f);
    p = FMA(p, z, 3.579238444e-3f);
    q = FMA(q, z, 2.619317389e-2f);
    p = FMA(p, z, 1.345082761e-1f);
    q = FMA(q, z, 4.678415568e-1f);
    p = FMA(p, z, 9.999999944e-1f);
    q = FMA(q, z, 1.0f);
    return x * p / q;
}

/* A span of one tensor from element `begin` on, with `noise`, if there is any, from its start. */
INLINE void step_span(
    const Tensor *t, int64_t begin, int64_t count, const float *restrict noise, const Hyper *hyper,
    const int has_noise, const int has_own_gate, const int gives_directions)
{
    const Hyper h = *hyper;
    const float aligned = h.alignment + 1.0f;
    float *restrict param = t->param + begin;
    const float *restrict grad = t->grad + begin;
    float *restrict exp_avg = t->exp_avg + begin;
    float *restrict exp_avg_sq = t->exp_avg_sq + begin;
    const float *restrict gate_sq = t->gate_sq + begin;
    for (int64_t i = 0; i < count; i++) {
        const float g = grad[i];
        const float m = FMA(g, h.gain1, exp_avg[i] * h.beta1);
        const float v = FMA(h.gain2 * g, g, exp_avg_sq[i] * h.beta2);
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        const float magnitude = m / (sqrtf(v) + h.eps);
        float ratio = magnitude;
        if (has_own_gate)
            ratio = m / (sqrtf(gate_sq[i]) + h.eps);
        const float gate = tanh_of(fabsf(ratio));
        const float boost = copysignf(1.0f, m) * g > 0.0f ? aligned : 1.0f;
        float gas = m != 0.0f ? copysignf(boost, m) : 0.0f;
        if (has_noise)
            gas += noise[i];
        /* gas·(1 - gate) + solid·gate */
        const float direction = FMA(gate, FMA(magnitude, h.solid_gain, -gas), gas);
        if (gives_directions)
            param[i] = direction;
        else
            param[i] = FMA(direction, -h.lr, param[i] * h.decay);
    }
}

typedef void Span(const Tensor *, int64_t, int64_t, const float *restrict, const Hyper *);

#define SPAN(name, has_noise, has_own_gate, gives_directions) \
    static void name(const Tensor *t, int64_t begin, int64_t count, \
                     const float *restrict noise, const Hyper *hyper) \
    { \
        step_span(t, begin, count, noise, hyper, has_noise, has_own_gate, gives_directions); \
    }

SPAN(quiet, 0, 0, 0)
SPAN(quiet_directions, 0, 0, 1)
SPAN(quiet_gated, 0, 1, 0)
SPAN(quiet_gated_directions, 0, 1, 1)
SPAN(noisy, 1, 0, 0)
SPAN(noisy_directions, 1, 0, 1)
SPAN(noisy_gated, 1, 1, 0)
SPAN(noisy_gated_directions, 1, 1, 1)

static Span *const SPANS[2][2][2] = { /* has_noise, has_own_gate, gives_directions */
    {{quiet, quiet_directions}, {quiet_gated, quiet_gated_directions}},
    {{noisy, noisy_directions}, {noisy_gated, noisy_gated_directions}},
};

INLINE uint32_t mix(uint32_t word) /* `noise.mix` */
{
    word = (word ^ (word >> 16)) * FIRST;
    word = (word ^ (word >> 13)) * SECOND;
    return word ^ (word >> 16);
}

/* Words of PAIRS places of a row, as `noise.NormalRows` makes them. */
INLINE void hash_words(int32_t *restrict out, const int32_t *restrict words, int from,
                       uint32_t first, uint32_t second, int pairs)
{
    const int32_t *restrict one = words + from, *restrict other = words + ROW + from;
    for (int j = 0; j < pairs; j++)
        out[j] = (int32_t)(((uint32_t)one[j] ^ first) * ((uint32_t)other[j] ^ second));
}

/* The draws of a row, times `scale`: pairs of N(0, 1) by Box and Muller, cosines in `cosines`.
 *
 * A stage a loop, each over scratch that stays in the first cache, so that compilers make vectors
 * of all of them. The polynomials are fitted as that of tanh is, for the least relative error
 * before rounding: of the logarithm 3e-8 on [√½, √2], of the sine 4e-9 and of the cosine 4e-8 up to
 * an eighth of a turn. */
static void draw_row(float *restrict cosines, float *restrict sines, const int32_t *restrict words,
                     uint32_t first, uint32_t second, float scale, int pairs)
{
    int32_t radius_words[PAIRS], angle_words[PAIRS];
    union { float number[PAIRS]; uint32_t bits[PAIRS]; } u;
    float exponents[PAIRS];
    const float wide = scale * 1.41421356237f;
    hash_words(radius_words, words, 0, first, second, pairs);
    hash_words(angle_words, words, PAIRS, first, second, pairs);
    for (int j = 0; j < pairs; j++) /* 2³¹ times a number in (0, 1], fine near zero */
        u.number[j] = fabsf((float)radius_words[j]) + 0.5f;
    for (int j = 0; j < pairs; j++) { /* 2^exponent times a number in [√½, √2) */
        const uint32_t bits = u.bits[j] - (ROOT_HALF + (31u << 23));
        exponents[j] = (float)((int32_t)bits >> 23);
        u.bits[j] = (bits & 0x7fffffu) + ROOT_HALF;
    }
    for (int j = 0; j < pairs; j++) {
        const float f = u.number[j] - 1.0f;
        float p = -0.0873377037736f; /* of the negative logarithm */
        p = FMA(p, f, 0.143069094212f);
        p = FMA(p, f, -0.14918078043f);
        p = FMA(p, f, 0.165705974244f);
        p = FMA(p, f, -0.199620718896f);
        p = FMA(p, f, 0.250017517124f);
        p = FMA(p, f, -0.333339501039f);
        p = FMA(p, f, 0.499999916402f);
        const float log = FMA(exponents[j], -0.693147180560f, FMA(f * f, p, -f)); /* 0 or more */
        u.number[j] = sqrtf(log) * wide;
    }
    for (int j = 0; j < pairs; j++) { /* the angle is the word times π·2⁻³¹ */
        const uint32_t word = (uint32_t)angle_words[j];
        const uint32_t turned = word + (1u << 29); /* its upper bits: the nearest quarter turn */
        const float a = (float)(int32_t)(word - (turned & (3u << 30))) * 1.46291807926715968e-9f;
        const float z = a * a, radius = u.number[j];
        float s = -1.95152698983e-4f, c = -1.35917957162e-3f;
        s = FMA(s, z, 8.33216075087e-3f);
        c = FMA(c, z, 4.16557726684e-2f);
        s = FMA(s, z, -0.166666546115f);
        c = FMA(c, z, -0.499998846758f);
        s = FMA(a * z, s, a);
        c = FMA(c, z, 1.0f);
        union { float number; uint32_t bits; } sine, cosine;
        sine.number = turned & (1u << 30) ? c : s;
        cosine.number = turned & (1u << 30) ? s : c;
        sine.bits ^= turned & (1u << 31);
        cosine.bits ^= (turned + (1u << 30)) & (1u << 31);
        sines[j] = radius * sine.number;
        cosines[j] = radius * cosine.number;
    }
}

/* Bring mean(v) up to this step, and find the scale of the noise, 0 for none: `Rows.explore`. */
static void explore(const Tensor *t, double temperature, float norm, const Hyper *h, float *scale)
{
    *scale = 0.0f;
    if (!(temperature > FROZEN))
        return;
    const float square = norm * norm / (float)(t->count > 1 ? t->count : 1);
    const float mean = FMA(square, h->gain2, *t->mean * h->beta2);
    const float found = sqrtf((float)temperature * mean + FLOOR);
    *t->mean = mean;
    if (mean > 0.0f && found < INFINITY)
        *scale = found;
}

/* Rows from `begin` to `end` of the tensor at `index` of `count`, which explores. */
static void step_noisy(const Tensor *t, int64_t begin, int64_t end, const Noise *noise,
                       int64_t index, int64_t count, const Hyper *hyper, Span *span)
{
    const uint32_t step = (uint32_t)*t->step;
    const uint32_t first = mix((uint32_t)noise->streams[index] ^ step);
    const uint32_t second = mix((uint32_t)noise->streams[count + index] ^ step);
    float draws[BATCH][ROW];
    for (int64_t row = begin; row < end; row += BATCH) {
        const int64_t at = row * ROW, last = row + BATCH < end ? row + BATCH : end;
        const int64_t length = (last * ROW < t->count ? last * ROW : t->count) - at;
        for (int64_t one = row; one < last; one++) { /* keys as of `noise.row_keys` */
            const uint32_t shift = (uint32_t)one * GOLDEN;
            float *of_row = draws[one - row];
            const int64_t left = length - (one - row) * ROW;
            draw_row(of_row, of_row + PAIRS, noise->words, mix(first + shift),
                     mix(second + shift) | 1u, noise->scales[index],
                     left < PAIRS ? (int)left : PAIRS);
        }
        span(t, at, length, draws[0], hyper);
    }
}

/* Rows from `begin` to `end` of those of all tensors, of those tensors from `from` to `to`. */
static void step_rows(const Tensor *tensors, int64_t count, int64_t from, int64_t to,
                      int64_t begin, int64_t end, const Hyper *hyper, const Noise *noise,
                      int has_own_gate, int gives_directions)
{
    for (int64_t i = from; i < to; i++) {
        const Tensor *t = tensors + i;
        const int64_t rows = (t->count + ROW - 1) / ROW;
        const int64_t first = begin > t->first_row ? begin - t->first_row : 0;
        const int64_t last = end - t->first_row < rows ? end - t->first_row : rows;
        if (first >= last)
            continue;
        if (noise && noise->scales[i] != 0.0f) {
            step_noisy(t, first, last, noise, i, count, hyper,
                       SPANS[1][has_own_gate][gives_directions]);
        } else {
            const int64_t at = first * ROW, stop = last * ROW < t->count ? last * ROW : t->count;
            SPANS[0][has_own_gate][gives_directions](t, at, stop - at, 0, hyper);
        }
    }
}

/* Count a step of each tensor, and return how many of them explore in it.
 *
 * The temperatures, decay^step, are written to `temperatures` (tensors,), unless that is null. */
int64_t thermolion_count(const Tensor *tensors, int64_t count, double decay, double *temperatures)
{
    int64_t exploring = 0;
    for (int64_t i = 0; i < count; i++) {
        *tensors[i].step += 1.0f;
        if (temperatures) {
            temperatures[i] = pow(decay, *tensors[i].step);
            exploring += temperatures[i] > FROZEN;
        }
    }
    return exploring;
}

/* Take the step of the tensors from `from` to `to` of `count`, in `threads` threads.
 *
 * `noise` is a null pointer for a step in which none of them explores. Threads are those of torch,
 * if this is compiled with -fopenmp; else there is one. No bit depends on how many there are. */
void thermolion_step(const Tensor *tensors, int64_t count, int64_t from, int64_t to,
                     const Hyper *hyper, const Noise *noise, int has_own_gate,
                     int gives_directions, int threads)
{
    if (from >= to)
        return;
    for (int64_t i = from; noise && i < to; i++)
        explore(tensors + i, noise->temperatures[i], noise->norms[i], hyper, noise->scales + i);
    const int64_t begin = tensors[from].first_row;
    const int64_t rows = tensors[to - 1].first_row + (tensors[to - 1].count + ROW - 1) / ROW - begin;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int part = 0; part < threads; part++)
        step_rows(tensors, count, from, to, begin + rows * part / threads,
                  begin + rows * (part + 1) / threads, hyper, noise, has_own_gate,
                  gives_directions);
}
