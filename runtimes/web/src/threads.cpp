// Tasks on several threads: workers share the memory and wait for jobs.
#include "engine.h"

namespace engine {
namespace {

void run_alone(size_t tasks, void (*task)(void*, size_t), void* arg) {
  for (size_t i = 0; i < tasks; ++i) task(arg, i);
}

}  // namespace

#if defined(__wasm_atomics__)

namespace {

// `state`: bit 0 open, bits 1 to 8 how many workers are inside, the rest counts jobs. A worker enters
// an open job only, so that one which sleeps is never waited for.
struct Job {
  void (*task)(void*, size_t);
  void* arg;
  size_t tasks;
};
constexpr unsigned kOpen = 1, kOne = 2, kInside = 0x1fe, kNext = 0x200;
constexpr int kSpins = 4000;

Job g_job;
unsigned g_state, g_sleeping, g_next, g_quit;
int g_threads = 1;

void work(const Job& job) {
  for (;;) {
    const size_t i = __atomic_fetch_add(&g_next, 1u, __ATOMIC_RELAXED);
    if (i >= job.tasks) return;
    job.task(job.arg, i);
  }
}

void wake() {
  if (__atomic_load_n(&g_sleeping, __ATOMIC_SEQ_CST))
    __builtin_wasm_memory_atomic_notify((int*)&g_state, (unsigned)-1);
}

// Waits for a state other than `seen`: a while awake, since the next job is microseconds away.
void wait_for_change(unsigned seen) {
  for (int i = 0; i < kSpins; ++i)
    if (__atomic_load_n(&g_state, __ATOMIC_RELAXED) != seen) return;
  __atomic_fetch_add(&g_sleeping, 1u, __ATOMIC_SEQ_CST);
  __builtin_wasm_memory_atomic_wait32((int*)&g_state, (int)seen, -1);
  __atomic_fetch_sub(&g_sleeping, 1u, __ATOMIC_SEQ_CST);
}

}  // namespace

void set_threads(int threads) { g_threads = threads; }

void run_tasks(void*, size_t tasks, void (*task)(void*, size_t), void* arg) {
  if (tasks < 2 || g_threads < 2) return run_alone(tasks, task, arg);
  g_job = {task, arg, tasks};
  __atomic_store_n(&g_next, 0u, __ATOMIC_RELAXED);
  __atomic_store_n(&g_state, ((g_state & ~(kInside | kOpen)) + kNext) | kOpen, __ATOMIC_SEQ_CST);
  wake();
  work(g_job);
  __atomic_fetch_and(&g_state, ~kOpen, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&g_state, __ATOMIC_ACQUIRE) & kInside) {
  }
}

// A worker's life: enters every job that it finds open, once each.
void serve() {
  unsigned done = ~0u;
  while (!__atomic_load_n(&g_quit, __ATOMIC_RELAXED)) {
    unsigned seen = __atomic_load_n(&g_state, __ATOMIC_ACQUIRE);
    const unsigned job = seen / kNext;
    if (!(seen & kOpen) || job == done) {
      wait_for_change(seen);
    } else if (__atomic_compare_exchange_n(&g_state, &seen, seen + kOne, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_RELAXED)) {
      work(g_job);
      done = job;
      __atomic_fetch_sub(&g_state, kOne, __ATOMIC_RELEASE);
    }
  }
}

void quit() {
  __atomic_store_n(&g_quit, 1u, __ATOMIC_SEQ_CST);
  __atomic_fetch_add(&g_state, kNext, __ATOMIC_SEQ_CST);
  __builtin_wasm_memory_atomic_notify((int*)&g_state, (unsigned)-1);
}

#else

void set_threads(int) {}

void run_tasks(void*, size_t tasks, void (*task)(void*, size_t), void* arg) {
  run_alone(tasks, task, arg);
}

#endif

}  // namespace engine
