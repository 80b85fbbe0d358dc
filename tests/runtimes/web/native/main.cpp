// Runs programs of the web engine on this machine, under a sanitizer: FOLDER COUNT. Of case N it
// reads N.program, N.weights and N.input and writes N.output or N.error. Memory between tensors is
// poisoned, and every buffer ends where the program says.
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "../../../../runtimes/web/src/engine.h"

int attnc_load(const uint32_t*, const char*, char*, char*, uintptr_t);
int attnc_run();
const char* attnc_error();
char* attnc_tensor(uint32_t);

// What the host of the web gives; here from malloc, so that each block has ends.
namespace engine {
void run_tasks(void*, size_t tasks, void (*task)(void*, size_t), void* arg);
namespace {
std::vector<void*> g_kept, g_lent;
void* lend(void*, size_t bytes) {
  void* made = nullptr;
  if (bytes > ((size_t)1 << 31) || posix_memalign(&made, 64, bytes ? bytes : 1)) return nullptr;
  g_lent.push_back(made);
  return made;
}
void give(void*, void* memory) {
  for (void*& held : g_lent)
    if (held == memory) {
      free(memory);
      held = nullptr;
    }
}
}  // namespace
const AttncHost kHost = {nullptr, lend, give, run_tasks};
uint64_t memory_bytes() { return UINT64_MAX; }
void set_scratch(uintptr_t) {
  for (void* held : g_kept) free(held);
  g_kept.clear();
}
void* keep(size_t bytes) {
  void* made = nullptr;
  if (bytes > ((size_t)1 << 28) || posix_memalign(&made, 64, bytes ? bytes : 1)) return nullptr;
  g_kept.push_back(made);
  return made;
}
void begin_scratch() {
  for (void* held : g_lent) free(held);
  g_lent.clear();
}
}  // namespace engine

static std::string read(const std::string& path) {
  std::string made;
  if (FILE* file = fopen(path.c_str(), "rb")) {
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, file));) made.append(block, n);
    fclose(file);
  }
  return made;
}

static void write(const std::string& path, const char* data, size_t bytes) {
  FILE* file = fopen(path.c_str(), "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file)) exit(3);
}

// A block that ends after `bytes`, aligned as in a page, filled with NaN.
static char* block(size_t bytes) {
  void* made = nullptr;
  if (posix_memalign(&made, 64, bytes ? bytes : 1)) exit(3);
  memset(made, 0xff, bytes);
  return (char*)made;
}

static size_t bytes_of(const uint32_t* record) {
  size_t count = record[1] == 1 ? 8 : record[1] == 3 ? 1 : 4;
  for (uint32_t i = 0; i < record[3] && i < 8; ++i) count *= record[4 + i];
  return count;
}

// Only what tensors in the arena cover may be touched.
static void poison_gaps(const uint32_t* words, char* arena, size_t bytes) {
  ASAN_POISON_MEMORY_REGION(arena, bytes);
  for (uint32_t i = 0; i < words[4]; ++i) {
    const uint32_t* record = words + 16 + i * 12;
    if (record[0] == 1) ASAN_UNPOISON_MEMORY_REGION(arena + record[2], bytes_of(record));
  }
}

static std::string run(const std::string& at, std::string* said) {
  const std::string program = read(at + ".program"), file = read(at + ".weights");
  const std::string input = read(at + ".input");
  if (program.size() < 64) return *said = "too short", "";
  const uint32_t* head = (const uint32_t*)program.data();
  const size_t length = (size_t)head[2] * 4 + head[3], arena_bytes = head[8], weights = head[9];
  if (length > program.size() || head[10] > file.size() || arena_bytes > (1u << 30) ||
      weights > (1u << 30))
    return *said = "the host refuses it", "";
  char* words = block(program.size());
  memcpy(words, program.data(), program.size());
  char* stored = block(file.size());
  memcpy(stored, file.data(), file.size());
  char *arena = block(arena_bytes), *weight = block(weights);
  std::string result;
  const uint32_t* w = (const uint32_t*)words;
  if (attnc_load(w, stored, weight, arena, 0)) {
    *said = attnc_error();
  } else {
    poison_gaps(w, arena, arena_bytes);
    const uint32_t* ports = w + 16 + w[4] * 12;
    size_t done = 0;
    for (uint32_t i = 0; i < w[6]; ++i) {
      const size_t count = bytes_of(w + 16 + ports[i] * 12);
      if (done + count <= input.size()) memcpy(attnc_tensor(ports[i]), input.data() + done, count);
      done += count;
    }
    if (attnc_run()) *said = attnc_error();
    for (uint32_t i = w[6]; i < w[6] + w[7] && said->empty(); ++i)
      result.append(attnc_tensor(ports[i]), bytes_of(w + 16 + ports[i] * 12));
    ASAN_UNPOISON_MEMORY_REGION(arena, arena_bytes);
  }
  free(words), free(stored), free(arena), free(weight);
  return result;
}

int main(int, char** arguments) {
  const std::string folder = arguments[1];
  for (int i = 0; i < atoi(arguments[2]); ++i) {
    const std::string at = folder + "/" + std::to_string(i);
    fprintf(stderr, "case %d\n", i);
    std::string said, result = run(at, &said);
    write(at + (said.empty() ? ".output" : ".error"), said.empty() ? result.data() : said.data(),
          said.empty() ? result.size() : said.size());
  }
  engine::set_scratch(0);
  engine::begin_scratch();
  return 0;
}
