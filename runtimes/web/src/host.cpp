// What kernels ask of their host but for threads: scratch memory; and what the compiler asks for.
#include "engine.h"

namespace engine {
void run_tasks(void*, size_t tasks, void (*task)(void*, size_t), void* arg);

namespace {

constexpr size_t kPage = 65536;

// A stack of blocks: what is given back last is free first; others wait for those above them.
struct Scratch {
  uintptr_t base, top;
};
constexpr int kMaxBlocks = 64;
struct Block {
  uintptr_t at, end;
};

Scratch g_scratch;
Block g_blocks[kMaxBlocks];
int g_count;

bool reach(uintptr_t end) {
  const size_t have = (size_t)(memory_bytes() / kPage);
  const size_t need = (end + kPage - 1) / kPage;
  return need <= have || __builtin_wasm_memory_grow(0, need - have) != (size_t)-1;
}

uintptr_t align(uintptr_t at) { return (at + 63) & ~(uintptr_t)63; }

void* take(void*, size_t bytes) {
  if (g_count == kMaxBlocks) return nullptr;
  const uintptr_t at = align(g_scratch.top), end = at + bytes;
  if (end < at || !reach(end)) return nullptr;
  g_blocks[g_count++] = {at, end};
  g_scratch.top = end;
  return (void*)at;
}

void give(void*, void* memory) {
  for (int i = 0; i < g_count; ++i)
    if (g_blocks[i].at == (uintptr_t)memory) g_blocks[i].at = 0;
  while (g_count && !g_blocks[g_count - 1].at) --g_count;
  g_scratch.top = g_count ? g_blocks[g_count - 1].end : g_scratch.base;
}

}  // namespace

uint64_t memory_bytes() { return (uint64_t)__builtin_wasm_memory_size(0) * kPage; }

const AttncHost kHost = {nullptr, take, give, run_tasks};

void set_scratch(uintptr_t base) {
  g_scratch = {align(base), align(base)};
  g_count = 0;
}

void* keep(size_t bytes) {
  const uintptr_t at = align(g_scratch.base), end = at + bytes;
  if (end < at || !reach(end)) return nullptr;
  g_scratch = {end, end};
  return (void*)at;
}

void begin_scratch() {
  g_count = 0;
  g_scratch.top = g_scratch.base;
}

}  // namespace engine

// The compiler asks for these by name; with bulk memory each is one instruction.
extern "C" {
void* memcpy(void* dst, const void* src, size_t n) {
  __asm__("local.get %0\nlocal.get %1\nlocal.get %2\nmemory.copy 0, 0" : : "r"(dst), "r"(src), "r"(n)
          : "memory");
  return dst;
}
void* memmove(void* dst, const void* src, size_t n) { return memcpy(dst, src, n); }
void* memset(void* dst, int value, size_t n) {
  __asm__("local.get %0\nlocal.get %1\nlocal.get %2\nmemory.fill 0" : : "r"(dst), "r"(value), "r"(n)
          : "memory");
  return dst;
}
}
