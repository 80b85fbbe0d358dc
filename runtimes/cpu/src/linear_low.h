// Linear layers with weights in fewer bits. Each row is divided by what makes it fit (a power of two
// for halves, its largest magnitude over 127 for bytes), prepared once, and multiplied with every
// panel; row and column factors come back after the product.

constexpr Int kLowTile = 24;  // rows of a tile of results between product and store

struct LowTask {
  const AttncLinearLow* a;
  Slots slots;
  Int blocks, filled, stride;  // elements and bytes of a prepared row
};

// Not a number where an element is none or infinite: a maximum would forget it.
inline float largest_magnitude(const float* x, Int n) {
  const Int whole = n / W * W;
  const V zero = set1(0.0f);
  V largest = zero, nothing = zero;
  Int i = 0;
  for (; i < whole; i += W) {
    const V v = load(x + i);
    largest = vmax(largest, vmax(v, sub(zero, v)));
    nothing = fma(v, zero, nothing);
  }
  float found = max_lanes(largest), rest = sum_lanes(nothing);
  for (; i < n; ++i) {
    const float v = __builtin_fabsf(x[i]);
    found = v > found ? v : found;
    rest += v * 0.0f;
  }
  return found + rest;
}

// What a row is divided by. Halves: the power of two that leaves the largest between 16 and 32, far
// from both ends of their range even after 64 products. Bytes: that leaves it 127.
inline float row_divisor(float largest, Int bits) {
  if (bits == kAttncInt8) return (largest < 1e-30f ? 1e-30f : largest) / 127.0f;
  int32_t word;
  __builtin_memcpy(&word, &largest, sizeof(word));
  const int32_t exponent = (word >> 23 & 255) - 4;
  word = (exponent < 8 ? 8 : exponent) << 23;
  float divisor;
  __builtin_memcpy(&divisor, &word, sizeof(divisor));
  return divisor;
}

// Rows [begin, end), normalised in `line`, become `rows` and what they were divided by.
inline void prepare_rows(const LowTask& t, Int begin, Int end, float* line, float* divisors,
                         char* rows) {
  const AttncLinearLow& a = *t.a;
  for (Int i = begin; i < end; ++i) {
    const float* x = a.x + i * a.k;
    if (a.norm) {
      norm_row(x, line, a.k, a.epsilon);
      x = line;
    }
    const float divisor = row_divisor(largest_magnitude(x, a.k), a.bits);
    divisors[i - begin] = divisor;
    a.low->prepare(x, a.k, t.filled, 1.0f / divisor, rows + (i - begin) * t.stride);
  }
}

// `count` rows of results from row `row` of y, columns [j, j + n); rows of `out` are ld apart.
inline void finish_rows(const AttncLinearLow& a, const float* out, Int ld, const float* divisors,
                        Int row, Int count, Int j, Int n) {
  const V lo = set1(a.lo), hi = set1(a.hi);
  for (Int v = 0; v < n; v += W) {
    const V scale = load(a.scale + j + v), bias = load(a.bias + j + v);
    const Int left = least(W, n - v);
    for (Int r = 0; r < count; ++r) {
      const Int at = (row + r) * a.n + j + v;
      V x = fma(load(out + r * ld + v), mul(scale, set1(divisors[r])), bias);
      if (a.residual) x = add(x, left == W ? load(a.residual + at) : loadn(a.residual + at, left));
      x = vmin(hi, vmax(lo, x));
      if (left == W)
        store(a.y + at, x);
      else
        storen(a.y + at, x, left);
    }
  }
}

// Rows [begin, end), which are prepared, with panels [first, last), two at a time where that pays.
inline void low_panels(const LowTask& t, Int begin, Int end, const float* divisors,
                       const char* rows, Int first, Int last) {
  const AttncLinearLow& a = *t.a;
  const Int panel_bytes = (a.bits == kAttncInt8 ? ceil_div(a.k, 4) * 4 : 2 * a.k) * 16;
  float out[kLowTile * 32];
  for (Int p = first; p < last;) {
    const Int taken = a.low->pair && p + 2 <= last ? 2 : 1;
    const auto product = taken == 2 ? a.low->pair : a.low->product;
    const char* panel = (const char*)a.w + p * panel_bytes;
    const Int n = least(16 * taken, a.n - p * 16);
    for (Int i = begin; i < end; i += kLowTile) {
      const Int count = least(kLowTile, end - i);
      product(rows + (i - begin) * t.stride, t.stride, panel, a.k, count, out);
      finish_rows(a, out, 16 * taken, divisors + (i - begin), i, count, p * 16, n);
    }
    for (Int v = 0; a.gelu && v < n; v += 16)
      gelu_panel(a.y + begin * a.n + p * 16 + v, a.n, end - begin, least(16, n - v));
    p += taken;
  }
}

// A slot: a line of floats for the norm, the divisors, the prepared rows.
inline float* low_divisors(const LowTask& t, float* slot) { return slot + round16(t.a->k); }
inline char* low_rows(const LowTask& t, float* slot, Int rows) {
  return (char*)(low_divisors(t, slot) + round16(rows));
}

inline void low_rows_task(void* arg, size_t index) {
  LowTask& t = *(LowTask*)arg;
  Int begin, end;
  rows_of(t.a->rows, t.blocks, (Int)index, &begin, &end);
  const Int slot = take_slot(&t.slots);
  float* line = t.slots.base + slot * t.slots.stride;
  char* rows = low_rows(t, line, end - begin);
  prepare_rows(t, begin, end, line, low_divisors(t, line), rows);
  low_panels(t, begin, end, low_divisors(t, line), rows, 0, panels_of(t.a->n));
  return_slot(&t.slots, slot);
}

inline void low_panels_task(void* arg, size_t index) {
  const LowTask& t = *(const LowTask*)arg;
  float* line = t.slots.base;
  const Int panels = panels_of(t.a->n);
  low_panels(t, 0, t.a->rows, low_divisors(t, line), low_rows(t, line, t.a->rows),
             chunk_begin(panels, (Int)index), chunk_begin(panels, (Int)index + 1));
}

AttncStatus linear_low(const AttncHost* host, const AttncLinearLow* a) {
  if (a->rows == 0) return kAttncOk;
  LowTask t = {a, {nullptr, 0, 1, 0}, 1, 0, 0};
  t.filled = ceil_div(a->k, a->low->row_step) * a->low->row_step;
  t.stride = ceil_div(t.filled * a->low->row_bytes, 64) * 64;
  const bool by_rows = a->rows >= kManyRows;
  if (by_rows) t.blocks = row_blocks(a->rows, ceil_div(t.stride, 4) + a->n / 4);
  const Int rows = ceil_div(a->rows, t.blocks);
  t.slots.count = least(t.blocks, kMaxSlots);
  t.slots.stride = round16(a->k) + round16(rows) + rows * t.stride / 4;
  t.slots.base = alloc_floats(host, t.slots.stride * t.slots.count);
  if (!t.slots.base) return kAttncNoMemory;
  if (by_rows) {
    host->parallel_for(host->user, (size_t)t.blocks, low_rows_task, &t);
  } else {
    float* line = t.slots.base;
    prepare_rows(t, 0, a->rows, line, low_divisors(t, line), low_rows(t, line, a->rows));
    host->parallel_for(host->user, (size_t)chunk_count(panels_of(a->n)), low_panels_task, &t);
  }
  host->free(host->user, t.slots.base);
  return kAttncOk;
}
