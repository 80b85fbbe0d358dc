// The kernels' plain C interface: arguments, run-time services, and the one list of kernels.
// Nothing here knows ONNX Runtime. Tensors are float32, row-major and dense; x is [batch, h, w, c]
// (channels last) unless said otherwise; packed weights are P(W[K,N]) = [ceil(N/16)][K][16] with
// zero-padded columns, their biases padded with zeros to a multiple of 16.
#pragma once
#include <stddef.h>
#include <stdint.h>

extern "C" {

typedef ptrdiff_t Int;  // 64 bits on every target (long is not, on Windows)

// What a kernel needs from its host. alloc returns 64-byte aligned memory or null.
struct AttncHost {
  void* user;
  void* (*alloc)(void* user, size_t bytes);
  void (*free)(void* user, void* memory);
  void (*parallel_for)(void* user, size_t tasks, void (*task)(void* arg, size_t index), void* arg);
};

enum AttncStatus { kAttncOk = 0, kAttncNoMemory = 1, kAttncTooLarge = 2, kAttncBadIndex = 3 };

struct AttncWindow {  // a sliding window; pads are top, left, bottom, right
  Int kh, kw, stride_h, stride_w, dilation_h, dilation_w, top, left, bottom, right;
};

// y[b,oh,ow,n] = clamp(conv(x) + bias [+ residual]); K order of the weights is (kh, kw, c).
// With `gelu`, which conv_f32 and stem_conv_f32 know, GELU comes last.
// stem_conv_f32 reads x as [batch, c, h, w]. residual may be null. conv_stride2_f32 has a window
// of 3x3, strides of 2 and pads of 1, no residual, and weights over K = (4, 4, c), see its file.
// conv_tiles_f32 has a square window of up to 8x8, no stride, dilation or residual, and weights that
// are transformed to points, see its file.
struct AttncConv {
  const float *x, *w, *bias, *residual;
  float* y;
  Int batch, h, width, c, oh, ow, n;
  AttncWindow win;
  Int gelu;
  float lo, hi;
};

// y = clamp(depthwise(x) + bias), then GELU if `gelu` is set; w [kh*kw][cp], bias [cp], cp = c
// rounded up to 16.
struct AttncDepthwise {
  const float *x, *w, *bias;
  float* y;
  Int batch, h, width, c, oh, ow;
  AttncWindow win;
  Int gelu;
  float lo, hi;
};

// y = x + clamp(x*W1 + b1)*W2 + b2 on [rows, c]; W1 [c, hidden], W2 [hidden, c].
struct AttncFeedForward {
  const float *x, *w1, *b1, *w2, *b2;
  float* y;
  Int rows, c, hidden;
  float lo, hi;
};

// y = x*W + bias on [rows, k] x [k, n], x normalised row by row first if `norm` is set; then GELU if
// `gelu` is set, else the residual (which may be null) and the clamp.
struct AttncLinear {
  const float *x, *w, *bias, *residual;
  float* y;
  Int rows, k, n, norm, gelu;
  float epsilon, lo, hi;
};

// y = x + gelu(normalised(x)*W1 + b1)*W2 + b2 on [rows, c]; W1 [c, hidden], W2 [hidden, c].
struct AttncMlp {
  const float *x, *w1, *b1, *w2, *b2;
  float* y;
  Int rows, c, hidden;
  float epsilon;
};

// Products in fewer bits: half-precision or 8-bit weights in panels of 16 columns, against rows that
// are prepared for them. A processor that has the arithmetic has one of its own, the others convert.
struct AttncLow {
  Int row_bytes;  // of an element of a prepared row
  Int row_step;   // a row is filled up with zeros to a multiple of so many elements
  // x[0..k) times `factor` becomes a row of `filled` elements.
  void (*prepare)(const float* x, Int k, Int filled, float factor, void* row);
  // out[r][16] = the products of `count` rows, `stride` bytes apart, with one panel.
  void (*product)(const void* rows, Int stride, const void* panel, Int k, Int count, float* out);
  // The same with two panels, one after the other, out[r][32]; null where that is no faster.
  void (*pair)(const void* rows, Int stride, const void* panel, Int k, Int count, float* out);
};

enum AttncBits { kAttncHalf = 0, kAttncInt8 = 1 };

// y = rounded(x)*W*scale + bias, else as AttncLinear. W in `low`'s own form: half [N/16][K][16], or
// 8 bits [N/16][ceil(K/4)][16][4]; scale [n padded to 16] is what its columns were divided by.
struct AttncLinearLow {
  const AttncLow* low;
  const float* x;
  const void* w;
  const float *scale, *bias, *residual;
  float* y;
  Int rows, k, n, norm, gelu, bits;
  float epsilon, lo, hi;
};

// Single-head attention over the first dim_v channels (see compiler/ops); x, y [batch, tokens, c].
struct AttncAttention {
  const float *x, *wqkv, *bqkv, *wproj, *bproj;
  float* y;
  Int batch, tokens, c, dim_qk, dim_v;
  float epsilon, lo, hi;
};

// y = conv1x1(SE(clamp(depthwise(clamp(conv1x1(x)))))).
struct AttncBottleneck {
  const float *x, *w1, *b1, *wd, *bd, *s1, *c1, *s2, *c2, *w3, *b3;
  float* y;
  Int batch, h, width, c, hidden, reduced, oh, ow, n;
  AttncWindow win;
  float lo, hi;
};

// y[b] = mean over pixels of x[b] * W + bias; y [batch, n].
struct AttncPoolLinear {
  const float *x, *w, *bias;
  float* y;
  Int batch, pixels, c, n;
};

// y = x + attention over an odd window (see compiler/ops); qkv [batch, h, w, 3c], x may be null.
// shift: pixels by which the four quarters of the keys' and values' channels are rolled up, down,
// left and right; pool_h x pool_w averaged keys and values join the window, 0 for none.
struct AttncWindowAttention {
  const float *qkv, *x;
  float* y;
  Int batch, h, width, c, kh, kw, dilation_h, dilation_w, shift, pool_h, pool_w;
  float scale;
};

// y[b] = x[b] turned over; x [batch, rows, columns].
struct AttncTurn {
  const float* x;
  float* y;
  Int batch, rows, columns;
};

// y[b, cell] = mean of x[b] over the cell's window; y [batch, rows * columns, c].
struct AttncGridPool {
  const float* x;
  float* y;
  Int batch, h, width, c, rows, columns;
};

// logits = scale * cosine of tokens and slots, y = softmax(logits over tokens)^T x; x [batch,
// tokens, c], slots [slot_batch (1 or batch), count, c], y [batch, count, c].
struct AttncSlotCluster {
  const float *x, *slots;
  float *y, *logits;
  Int batch, slot_batch, tokens, count, c;
  float scale;
};

// y = softmax(logits over slots) * slots [+ residual]; residual may be null.
struct AttncSlotDispatch {
  const float *logits, *slots, *residual;
  float* y;
  Int batch, tokens, count, c;
};

// Sparsifiner's predictor and attention over the keys that it keeps (see compiler/ops); qkv
// [batch, tokens, 3*heads*dim], wq and wk [narrow, dim], proj [tokens, rank], basis [rank, tokens],
// active [batch, tokens] of ones and zeros, or null. Thresholds below zero limit nothing.
struct AttncSparseAttention {
  const float *qkv, *wq, *bq, *wk, *bk, *proj, *basis, *active;
  float* y;
  Int batch, tokens, heads, dim, narrow, rank, coef_topk, keep, prune_rows;
  float coef_threshold, score_threshold, scale, coef_scale;
};

// Multi-head attention: head h reads its queries from query[b, i, q_at + h*dim_qk], keys and values
// likewise from memory (row strides ldq and ldm); y [batch, m, heads*dim_v]. With `index` only the
// class token's row and the rows 1 + index[b, 0..kept) are computed, and with `fuse` one more,
// the sum over j of weights[b, j] times row 1 + j.
struct AttncMha {
  const float *query, *memory;
  const int64_t* index;
  const float* weights;
  float* y;
  Int batch, m, n, ldq, ldm, heads, dim_qk, dim_v, q_at, k_at, v_at, kept, fuse;
  float scale;
};

// Token selection (see compiler/ops): x [batch, n, c], query [batch, m, ldq], memory
// [batch, n, ldm], bias [c] to y [batch, 1+keep+fuse, c], index [batch, keep],
// weights [batch, n-1].
struct AttncSelect {
  const float *x, *query, *memory, *bias;
  float* y;
  int64_t* index;
  float* weights;
  Int batch, m, n, c, ldq, ldm, heads, dim_qk, q_at, k_at, keep, fuse;
  float scale;
};

// The kernels and their arguments.
#define ATTNC_KERNELS(K)                        \
  K(stem_conv_f32, AttncConv)                   \
  K(conv_f32, AttncConv)                        \
  K(conv_stride2_f32, AttncConv)                \
  K(conv_tiles_f32, AttncConv)                  \
  K(depthwise_f32, AttncDepthwise)              \
  K(feed_forward_f32, AttncFeedForward)         \
  K(linear_f32, AttncLinear)                    \
  K(mlp_f32, AttncMlp)                          \
  K(attention_f32, AttncAttention)              \
  K(bottleneck_f32, AttncBottleneck)            \
  K(pool_linear_f32, AttncPoolLinear)           \
  K(window_attention_f32, AttncWindowAttention) \
  K(grid_pool_f32, AttncGridPool)               \
  K(slot_cluster_f32, AttncSlotCluster)         \
  K(slot_dispatch_f32, AttncSlotDispatch)       \
  K(sparse_attention_f32, AttncSparseAttention) \
  K(mha_f32, AttncMha)                          \
  K(select_tokens_f32, AttncSelect)             \
  K(turn_f32, AttncTurn)

struct AttncKernels {
  const char* isa;
#define ATTNC_MEMBER(name, args) AttncStatus (*name)(const AttncHost*, const args*);
  ATTNC_KERNELS(ATTNC_MEMBER)
#undef ATTNC_MEMBER
  double (*peak)(Int rounds, float* sink);  // multiply-adds from registers alone, for benchmarks
  // Where fewer bits are served (not in WebAssembly): the kernel, and the products by AttncBits.
  AttncStatus (*linear_low)(const AttncHost*, const AttncLinearLow*);
  const AttncLow* low[2];
};

}  // extern "C"
