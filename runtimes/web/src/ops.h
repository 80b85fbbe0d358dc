// The standard operators, declared once, and what several of them need.
#pragma once
#include "engine.h"

namespace engine {

// name, function, least and most inputs, outputs
#define ATTNC_STANDARD(O)                                                                     \
  O(Abs, op_unary, 1, 1, 1) O(Ceil, op_unary, 1, 1, 1) O(Erf, op_unary, 1, 1, 1)              \
  O(Exp, op_unary, 1, 1, 1) O(Floor, op_unary, 1, 1, 1) O(Gelu, op_unary, 1, 1, 1)            \
  O(HardSigmoid, op_unary, 1, 1, 1) O(HardSwish, op_unary, 1, 1, 1)                           \
  O(LeakyRelu, op_unary, 1, 1, 1) O(Log, op_unary, 1, 1, 1) O(Neg, op_unary, 1, 1, 1)         \
  O(Reciprocal, op_unary, 1, 1, 1) O(Relu, op_unary, 1, 1, 1) O(Round, op_unary, 1, 1, 1)     \
  O(Sigmoid, op_unary, 1, 1, 1) O(Sqrt, op_unary, 1, 1, 1) O(Tanh, op_unary, 1, 1, 1)         \
  O(Add, op_binary, 2, 2, 1) O(Sub, op_binary, 2, 2, 1) O(Mul, op_binary, 2, 2, 1)            \
  O(Div, op_binary, 2, 2, 1) O(Pow, op_binary, 2, 2, 1) O(Mod, op_binary, 2, 2, 1)            \
  O(Max, op_extreme, 1, 64, 1) O(Min, op_extreme, 1, 64, 1)                                   \
  O(Equal, op_compare, 2, 2, 1) O(Greater, op_compare, 2, 2, 1)                               \
  O(GreaterOrEqual, op_compare, 2, 2, 1) O(Less, op_compare, 2, 2, 1)                         \
  O(LessOrEqual, op_compare, 2, 2, 1) O(And, op_logic, 2, 2, 1) O(Or, op_logic, 2, 2, 1)      \
  O(Not, op_logic, 1, 1, 1) O(Where, op_where, 3, 3, 1) O(Cast, op_cast, 1, 1, 1)             \
  O(Clip, op_clip, 1, 3, 1)                                                                   \
  O(Reshape, op_reshape, 1, 2, 1) O(Squeeze, op_reshape, 1, 2, 1)                             \
  O(Unsqueeze, op_reshape, 1, 2, 1) O(Flatten, op_reshape, 1, 1, 1)                           \
  O(Identity, op_reshape, 1, 1, 1) O(Transpose, op_transpose, 1, 1, 1)                        \
  O(Expand, op_expand, 1, 2, 1) O(Concat, op_concat, 1, 4096, 1)                              \
  O(Split, op_split, 1, 2, 4096) O(Slice, op_slice, 3, 5, 1) O(Tile, op_tile, 2, 2, 1)        \
  O(Pad, op_pad, 2, 4, 1) O(Gather, op_gather, 2, 2, 1) O(Range, op_range, 3, 3, 1)           \
  O(Trilu, op_trilu, 1, 2, 1)                                                                 \
  O(ReduceMean, op_reduce, 1, 2, 1) O(ReduceSum, op_reduce, 1, 2, 1)                          \
  O(ReduceMax, op_reduce, 1, 2, 1) O(ReduceMin, op_reduce, 1, 2, 1)                           \
  O(ReduceProd, op_reduce, 1, 2, 1) O(ReduceL2, op_reduce, 1, 2, 1)                           \
  O(ArgMax, op_arg_max, 1, 1, 1) O(CumSum, op_cum_sum, 2, 2, 1)                               \
  O(MatMul, op_matmul, 2, 2, 1) O(Gemm, op_gemm, 2, 3, 1) O(Softmax, op_softmax, 1, 1, 1)     \
  O(LogSoftmax, op_softmax, 1, 1, 1) O(LayerNormalization, op_layer_norm, 2, 3, 1)            \
  O(InstanceNormalization, op_group_norm, 3, 3, 1)                                            \
  O(GroupNormalization, op_group_norm, 3, 3, 1)                                               \
  O(BatchNormalization, op_batch_norm, 5, 5, 1)                                               \
  O(TopK, op_top_k, 2, 2, 2) O(GatherElements, op_gather_elements, 2, 2, 1)                   \
  O(GatherND, op_gather_nd, 2, 2, 1) O(ScatterElements, op_scatter_elements, 3, 3, 1)         \
  O(ScatterND, op_scatter_nd, 3, 3, 1) O(OneHot, op_one_hot, 3, 3, 1)                         \
  O(Conv, op_conv, 2, 3, 1) O(MaxPool, op_pool, 1, 1, 1) O(AveragePool, op_pool, 1, 1, 1)     \
  O(GlobalAveragePool, op_global_pool, 1, 1, 1)

#define ATTNC_DECLARE_OP(name, run, least, most, outputs) const char* run(const Step&);
ATTNC_STANDARD(ATTNC_DECLARE_OP)
#undef ATTNC_DECLARE_OP

inline int64_t clamp_to(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

inline bool is_integers(const Tensor& t) { return t.type == kInt64 || t.type == kInt32; }

// Element i of a tensor of integers; 0 of any other.
inline int64_t integer_at(const Tensor& t, Int i) {
  return t.type == kInt64 ? t.l()[i] : t.type == kInt32 ? ((int32_t*)t.data)[i] : 0;
}

}  // namespace engine
