// CUDA on the host: the kernels' sources compile with an ordinary C++20 compiler and run here,
// the threads of a block as fibers, one block after the other. For tests, not for speed.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace attnc_host {

constexpr int kWarp = 32;
constexpr size_t kStack = 256 * 1024;

struct Fiber {
  ucontext_t context;
  jmp_buf place;
  std::unique_ptr<char[]> stack;
  bool done = false;
};

// What the lanes of a warp exchange; two slots in turn, so that none is overwritten unread.
struct Warp {
  uint64_t given[2][kWarp];
  int arrived = 0;
  unsigned round = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  ucontext_t back;
  int now = 0, alive = 0, arrived = 0, idle = 0;
  unsigned round = 0;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  std::unique_ptr<unsigned char[]> shared;
};

inline Block* block = nullptr;
inline dim3 thread_at, block_at, block_size, grid_size;

inline int lane() { return block->now % kWarp; }

inline void resume(int from, int to) {
  block->now = to;
  thread_at = {static_cast<unsigned>(to), 0, 0};
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&block->fibers[from].context, &block->fibers[to].context);
#else
  if (_setjmp(block->fibers[from].place) == 0) _longjmp(block->fibers[to].place, 1);
#endif
}

inline int next_alive(int from) {
  const int count = static_cast<int>(block->fibers.size());
  for (int step = 1; step <= count; ++step)
    if (!block->fibers[(from + step) % count].done) return (from + step) % count;
  return -1;
}

// Lets the other threads run until there is something new.
inline void wait() {
  if (++block->idle > 4 * static_cast<int>(block->fibers.size())) {
    std::fprintf(stderr, "threads of a block wait at different places\n");
    std::abort();
  }
  const int from = block->now, to = next_alive(from);
  if (to != from) resume(from, to);
}

inline void release_block() {
  if (block->arrived < block->alive) return;
  block->arrived = block->idle = 0;
  ++block->round;
}

inline void sync_block() {
  const unsigned mine = block->round;
  ++block->arrived;
  release_block();
  while (block->round == mine) wait();
}

inline Warp& sync_warp(uint64_t value) {
  Warp& warp = block->warps[block->now / kWarp];
  const unsigned mine = warp.round;
  warp.given[mine % 2][lane()] = value;
  if (++warp.arrived == kWarp) {
    warp.arrived = block->idle = 0;
    ++warp.round;
  }
  while (warp.round == mine) wait();
  return warp;
}

template <class T>
T exchange(T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const unsigned mine = block->warps[block->now / kWarp].round;
  bits = sync_warp(bits).given[mine % 2][source & (kWarp - 1)];
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline unsigned ballot(bool value) {
  const unsigned mine = block->warps[block->now / kWarp].round;
  const Warp& warp = sync_warp(value);
  unsigned bits = 0;
  for (int i = 0; i < kWarp; ++i) bits |= static_cast<unsigned>(warp.given[mine % 2][i]) << i;
  return bits;
}

inline void run_fiber() {
  block->body(block->argument);
  const int from = block->now;
  block->fibers[from].done = true;
  --block->alive;
  block->idle = 0;
  if (block->alive == 0) setcontext(&block->back);
  release_block();
  resume(from, next_alive(from));
}

#if !defined(__SANITIZE_ADDRESS__)
// First entry of a fiber: it leaves its place behind and returns to the launch.
inline void start_fiber() {
  const int self = block->now;
  Fiber& fiber = block->fibers[self];
  if (_setjmp(fiber.place) == 0) swapcontext(&fiber.context, &block->back);
  run_fiber();
}
#else
inline void start_fiber() { run_fiber(); }
#endif

inline void prepare(unsigned threads, unsigned shared_bytes) {
  block->fibers.resize(threads);
  block->warps.resize((threads + kWarp - 1) / kWarp);
  for (Fiber& fiber : block->fibers) fiber.stack.reset(new char[kStack]);
  block->shared.reset(new unsigned char[shared_bytes]);
}

inline void make_fiber(int index) {
  Fiber& fiber = block->fibers[index];
  fiber.done = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, start_fiber, 0);
#if !defined(__SANITIZE_ADDRESS__)
  block->now = index;
  swapcontext(&block->back, &fiber.context);
#endif
}

// One block, with nothing but poison in its dynamic shared memory.
inline void run_block(unsigned threads, unsigned shared_bytes) {
  std::memset(block->shared.get(), 0xFF, shared_bytes);
  block->alive = static_cast<int>(threads);
  block->arrived = block->idle = 0;
  for (Warp& warp : block->warps) warp.arrived = 0;
  for (int i = 0; i < block->alive; ++i) make_fiber(i);
  block->now = 0;
  thread_at = {0, 0, 0};
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&block->back, &block->fibers[0].context);
#else
  ucontext_t* back = &block->back;
  volatile bool started = false;
  getcontext(back);
  if (!started) {
    started = true;
    _longjmp(block->fibers[0].place, 1);
  }
#endif
}

inline void run_grid(const unsigned* grid, unsigned threads, unsigned shared_bytes,
                     void (*body)(void*), void* argument) {
  Block own;
  block = &own;
  own.body = body;
  own.argument = argument;
  grid_size = {grid[0], grid[1], grid[2]};
  block_size = {threads, 1, 1};
  prepare(threads, shared_bytes);
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) {
        block_at = {x, y, z};
        run_block(threads, shared_bytes);
      }
  block = nullptr;
}

template <class... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;
  template <size_t... I>
  void run(std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
  }
  static void body(void* self) { static_cast<Call*>(self)->run(std::index_sequence_for<A...>()); }
};

// The arguments are pointers to the kernel's own, as cuLaunchKernel takes them.
template <class... A>
void launch(void (*kernel)(A...), const unsigned* grid, unsigned threads, unsigned shared_bytes,
            void** arguments) {
  Call<A...> call{kernel, arguments};
  run_grid(grid, threads, shared_bytes, Call<A...>::body, &call);
}

// bfloat16: the upper half of a float, rounded to nearest, ties to even.
struct bfloat16 {
  uint16_t bits;
};

inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  return y;
}

inline bfloat16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if (x != x) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

}  // namespace attnc_host

#define threadIdx attnc_host::thread_at
#define blockIdx attnc_host::block_at
#define blockDim attnc_host::block_size
#define gridDim attnc_host::grid_size

inline void __syncthreads() { attnc_host::sync_block(); }
inline void __syncwarp() { attnc_host::sync_warp(0); }
template <class T>
T __shfl_sync(unsigned, T value, int source) {
  return attnc_host::exchange(value, source);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return attnc_host::exchange(value, attnc_host::lane() ^ mask);
}
inline unsigned __ballot_sync(unsigned, bool value) { return attnc_host::ballot(value); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline float __expf(float x) { return ::expf(x); }
inline float __int_as_float(int bits) {
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  return y;
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}
template <class T>
T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T max(T a, T b) {
  return a > b ? a : b;
}
