/* ThermoLion's step in one pass over p, g, m and v, in float32: the arithmetic of `reference`.
 *
 * Plain C without any header but stdint.h, called from `one_pass`. Compile it with -ffp-contract=off:
 * m and v have the bits of torch's mul_, add_(alpha) and addcmul_, which round a product and a sum
 * once if the processor can, and twice if it can't. Loops over rows are written for vectors of any
 * width, and give the same bits by all of them.
 */
#include <stdint.h>

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF)
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#define ROW 1024 /* of `noise`, with its pairs (j, j + 512) and its constants */
#define PAIRS 512
#define FIRST 0x85EBCA6Bu
#define SECOND 0xC2B2AE35u
#define GOLDEN 0x9E3779B9u

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
    int64_t count; /* elements */
    int64_t first_row; /* among those of all tensors */
    int64_t skip; /* places of the first row that lie before the tensor */
} Tensor;

typedef struct { /* of all tensors, if they explore */
    const int32_t *words; /* (2, 1024): `noise.row_words` */
    const int32_t *keys; /* (2, rows): `noise.row_keys` */
    const float *scales; /* (tensors,) */
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
        const float magnitude = m / (__builtin_sqrtf(v) + h.eps);
        float ratio = magnitude;
        if (has_own_gate)
            ratio = m / (__builtin_sqrtf(gate_sq[i]) + h.eps);
        const float gate = tanh_of(__builtin_fabsf(ratio));
        const float sign = (float)(m > 0.0f) - (float)(m < 0.0f);
        float gas = sign + (sign * g > 0.0f ? sign * h.alignment : 0.0f);
        if (has_noise)
            gas += noise[i];
        const float direction = gas * (1.0f - gate) + magnitude * h.solid_gain * gate;
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
 * before rounding: of the logarithm 6e-9 on [√½, √2], of the sine 4e-9 and of the cosine 1e-10 on
 * an eighth of a turn. */
static void draw_row(float *restrict cosines, float *restrict sines, const int32_t *restrict words,
                     uint32_t first, uint32_t second, float scale, int pairs)
{
    int32_t radius_words[PAIRS], angle_words[PAIRS];
    union { float number[PAIRS]; uint32_t bits[PAIRS]; } u;
    float exponents[PAIRS];
    hash_words(radius_words, words, 0, first, second, pairs);
    hash_words(angle_words, words, PAIRS, first, second, pairs);
    for (int j = 0; j < pairs; j++) /* in (0, 1], fine near zero */
        u.number[j] = (__builtin_fabsf((float)radius_words[j]) + 0.5f) * 0x1p-31f;
    for (int j = 0; j < pairs; j++) { /* 2^exponent times a number in [√½, √2) */
        const uint32_t bits = u.bits[j];
        const int32_t exponent = (int32_t)(bits - 0x3f3504f3u) >> 23;
        exponents[j] = (float)exponent;
        u.bits[j] = bits - ((uint32_t)exponent << 23);
    }
    for (int j = 0; j < pairs; j++) {
        const float e = exponents[j], f = u.number[j] - 1.0f, s = f * f;
        float p = -0.0763386365789f;
        p = FMA(p, f, 0.127611645289f);
        p = FMA(p, f, -0.13160234378f);
        p = FMA(p, f, 0.142018212908f);
        p = FMA(p, f, -0.166233572194f);
        p = FMA(p, f, 0.200012238547f);
        p = FMA(p, f, -0.250008210446f);
        p = FMA(p, f, 0.333333317454f);
        /* log 2 in two parts, so that the first times an exponent is exact */
        float log = FMA(f * s, p, e * -2.12194440e-4f);
        log = FMA(-0.5f, s, log);
        log = FMA(e, 0.693359375f, f + log);
        const float square = -2.0f * log;
        u.number[j] = __builtin_sqrtf(square > 0.0f ? square : 0.0f) * scale;
    }
    for (int j = 0; j < pairs; j++) { /* the angle is the word times π·2⁻³¹ */
        const uint32_t word = (uint32_t)angle_words[j];
        const uint32_t quarter = (word + 0x20000000u) >> 30; /* the nearest quarter turn */
        const float a = (float)(int32_t)(word - (quarter << 30)) * 1.46291807926715968e-9f;
        const float z = a * a, radius = u.number[j];
        float s = -1.95152698983e-4f, c = 2.44331490874e-5f;
        s = FMA(s, z, 8.33216075087e-3f);
        c = FMA(c, z, -1.38873161837e-3f);
        s = FMA(s, z, -0.166666546115f);
        c = FMA(c, z, 4.16666456807e-2f);
        s = FMA(a * z, s, a);
        c = FMA(z * z, c, FMA(-0.5f, z, 1.0f));
        const float sine = quarter & 1u ? c : s, cosine = quarter & 1u ? s : c;
        sines[j] = radius * (quarter & 2u ? -sine : sine);
        cosines[j] = radius * ((quarter + 1u) & 2u ? -cosine : cosine);
    }
}

/* Rows from `begin` to `end` of a tensor that explores; `row` is the number of its first one. */
static void step_noisy(const Tensor *t, int64_t begin, int64_t end, const Noise *noise,
                       int64_t rows, float scale, const Hyper *hyper, Span *span)
{
    float draws[2][PAIRS];
    for (int64_t row = begin; row < end; row++) {
        const int64_t base = row * ROW - t->skip; /* the element at place 0 */
        const int64_t low = base < 0 ? -base : 0;
        const int64_t high = t->count - base < ROW ? t->count - base : ROW;
        const int64_t at = t->first_row + row;
        draw_row(draws[0], draws[1], noise->words, (uint32_t)noise->keys[at],
                 (uint32_t)noise->keys[rows + at], scale, high < PAIRS ? (int)high : PAIRS);
        for (int half = 0; half < 2; half++) {
            const int64_t start = half * PAIRS;
            const int64_t from = low > start ? low : start;
            const int64_t to = high < start + PAIRS ? high : start + PAIRS;
            if (from < to)
                span(t, base + from, to - from, draws[half] + (from - start), hyper);
        }
    }
}

/* Rows from `begin` to `end` of those of all tensors. */
static void step_rows(const Tensor *tensors, int64_t count, int64_t begin, int64_t end,
                      int64_t rows, const Hyper *hyper, const Noise *noise, int has_own_gate,
                      int gives_directions)
{
    for (int64_t i = 0; i < count; i++) {
        const Tensor *t = tensors + i;
        const int64_t next = i + 1 < count ? t[1].first_row : rows;
        const int64_t first = (begin > t->first_row ? begin : t->first_row) - t->first_row;
        const int64_t last = (end < next ? end : next) - t->first_row;
        if (first >= last)
            continue;
        if (noise && noise->scales[i] != 0.0f) {
            step_noisy(t, first, last, noise, rows, noise->scales[i], hyper,
                       SPANS[1][has_own_gate][gives_directions]);
        } else {
            const int64_t from = first ? first * ROW - t->skip : 0;
            const int64_t to = last * ROW - t->skip < t->count ? last * ROW - t->skip : t->count;
            SPANS[0][has_own_gate][gives_directions](t, from, to - from, 0, hyper);
        }
    }
}

/* Take the step of `count` tensors, which have `rows` rows together, in `threads` threads.
 *
 * `noise` is a null pointer for a step without any. Threads are those of torch, if this is compiled
 * with -fopenmp; else there is one. No bit depends on how many there are. */
void thermolion_step(const Tensor *tensors, int64_t count, int64_t rows, const Hyper *hyper,
                     const Noise *noise, int has_own_gate, int gives_directions, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int part = 0; part < threads; part++)
        step_rows(tensors, count, rows * part / threads, rows * (part + 1) / threads, rows, hyper,
                  noise, has_own_gate, gives_directions);
}
