// What all kernels share: precisions, loads and stores through float, sums over a warp.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define ATTNC_SHARED(T, name)                                  \
  extern __shared__ __align__(16) unsigned char attnc_shared[]; \
  T* name = reinterpret_cast<T*>(attnc_shared)
#define ATTNC_HOST_ENTRY(name)
namespace attnc {
using Half = __half;
using BFloat16 = __nv_bfloat16;
}
#else
#include "host_shim.h"
#define ATTNC_SHARED(T, name) T* name = reinterpret_cast<T*>(attnc_host::block->shared.get())
#define ATTNC_HOST_ENTRY(name)                                                                 \
  extern "C" void name##_host(const unsigned* grid, unsigned threads, unsigned shared_bytes,   \
                              void** arguments) {                                              \
    attnc_host::launch(name, grid, threads, shared_bytes, arguments);                          \
  }
namespace attnc {
using Half = _Float16;
using BFloat16 = attnc_host::bfloat16;
}
#endif

// One entry that cuLaunchKernel can name.
#define ATTNC_ENTRY(name, threads, parameters, ...)                           \
  extern "C" __global__ void __launch_bounds__(threads) name parameters { __VA_ARGS__; } \
  ATTNC_HOST_ENTRY(name)
// ENTRY(name, type) for each precision; with ATTNC_FP16 and the like defined only for those.
#if !defined(ATTNC_FP32) && !defined(ATTNC_FP16) && !defined(ATTNC_BF16)
#define ATTNC_FP32
#define ATTNC_FP16
#define ATTNC_BF16
#endif
#ifdef ATTNC_FP32
#define ATTNC_ENTRY_FP32(ENTRY, entry) ENTRY(entry##_fp32, float)
#else
#define ATTNC_ENTRY_FP32(ENTRY, entry)
#endif
#ifdef ATTNC_FP16
#define ATTNC_ENTRY_FP16(ENTRY, entry) ENTRY(entry##_fp16, attnc::Half)
#else
#define ATTNC_ENTRY_FP16(ENTRY, entry)
#endif
#ifdef ATTNC_BF16
#define ATTNC_ENTRY_BF16(ENTRY, entry) ENTRY(entry##_bf16, attnc::BFloat16)
#else
#define ATTNC_ENTRY_BF16(ENTRY, entry)
#endif
#define ATTNC_PRECISIONS(ENTRY, entry) \
  ATTNC_ENTRY_FP32(ENTRY, entry)       \
  ATTNC_ENTRY_FP16(ENTRY, entry)       \
  ATTNC_ENTRY_BF16(ENTRY, entry)

namespace attnc {

constexpr unsigned kAll = 0xFFFFFFFFu;
constexpr int kLanes = 32;

__device__ __forceinline__ float lowest() { return __int_as_float(static_cast<int>(0xFF800000u)); }

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x) % kLanes; }
__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x) / kLanes; }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(Half x) {
#ifdef __CUDACC__
  return __half2float(x);
#else
  return static_cast<float>(x);
#endif
}
__device__ __forceinline__ float to_float(BFloat16 x) {
#ifdef __CUDACC__
  return __bfloat162float(x);
#else
  return attnc_host::widen(x);
#endif
}

__device__ __forceinline__ void store(float* at, float x) { *at = x; }
__device__ __forceinline__ void store(Half* at, float x) {
#ifdef __CUDACC__
  *at = __float2half_rn(x);
#else
  *at = static_cast<Half>(x);
#endif
}
__device__ __forceinline__ void store(BFloat16* at, float x) {
#ifdef __CUDACC__
  *at = __float2bfloat16_rn(x);
#else
  *at = attnc_host::narrow(x);
#endif
}

// Four neighbours, moved at once.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T at[4];
};

// Whether rows that start here, so far apart, of this width, can be moved by fours.
template <class T>
__device__ __forceinline__ bool by_fours(const T* base, long long stride, int width) {
  const auto place = reinterpret_cast<unsigned long long>(base);
  return place % sizeof(Four<T>) == 0 && stride % 4 == 0 && width % 4 == 0;
}

// Channels c to c+3 of a row, zero past its width; c is a multiple of four.
template <class T>
__device__ __forceinline__ float4 load4(const T* row, int c, int width, bool fours) {
  if (fours && c < width) {
    const Four<T> found = *reinterpret_cast<const Four<T>*>(row + c);
    return {to_float(found.at[0]), to_float(found.at[1]), to_float(found.at[2]),
            to_float(found.at[3])};
  }
  return {c < width ? to_float(row[c]) : 0.f, c + 1 < width ? to_float(row[c + 1]) : 0.f,
          c + 2 < width ? to_float(row[c + 2]) : 0.f, c + 3 < width ? to_float(row[c + 3]) : 0.f};
}

template <class T>
__device__ __forceinline__ void store4(T* row, int c, int width, bool fours, const float (&x)[4]) {
  if (fours && c < width) {
    Four<T> out;
    for (int i = 0; i < 4; ++i) store(out.at + i, x[i]);
    *reinterpret_cast<Four<T>*>(row + c) = out;
    return;
  }
  for (int i = 0; i < 4; ++i)
    if (c + i < width) store(row + c + i, x[i]);
}

__device__ __forceinline__ float dot4(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

__device__ __forceinline__ void add_scaled(float (&out)[4], float p, float4 v) {
  out[0] += p * v.x;
  out[1] += p * v.y;
  out[2] += p * v.z;
  out[3] += p * v.w;
}

// Over `width` neighbouring lanes, a power of two; every lane gets the result.
__device__ __forceinline__ float lanes_sum(float x, int width = kLanes) {
  for (int step = width / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}
__device__ __forceinline__ float lanes_max(float x, int width = kLanes) {
  for (int step = width / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, step));
  return x;
}

// Groups of lanes that can share out the keys when each has all channels, four to a lane.
__device__ __forceinline__ int groups_of(int channels) {
  return channels <= kLanes ? 4 : channels <= 2 * kLanes ? 2 : 1;
}

// Sums over the groups; every group gets them.
__device__ __forceinline__ void join_groups(float (&out)[4], int groups) {
  for (int step = kLanes / groups; step < kLanes; step *= 2)
    for (float& value : out) value += __shfl_xor_sync(kAll, value, step);
}

// What a pruned token is worth: `active` is null where none is pruned.
template <class T>
__device__ __forceinline__ float activity(const T* active, int token) {
  return active ? to_float(active[token]) : 1.f;
}

// values: their softmax, by one warp, which has all of them in its reach before and after.
__device__ inline void warp_softmax(float* values, int count) {
  float largest = lowest(), total = 0.f;
  for (int i = lane_id(); i < count; i += kLanes) largest = fmaxf(largest, values[i]);
  largest = lanes_max(largest);
  for (int i = lane_id(); i < count; i += kLanes) {
    values[i] = __expf(values[i] - largest);
    total += values[i];
  }
  total = lanes_sum(total);
  for (int i = lane_id(); i < count; i += kLanes) values[i] /= total;
  __syncwarp();
}

}  // namespace attnc
