// Loads a program, checking every number in it, and runs its steps: the exports of the module.
#include "engine.h"

namespace engine {
void set_scratch(uintptr_t base);
void set_threads(int threads);
#if defined(__wasm_atomics__)
void serve();
void quit();
#endif

namespace {

constexpr uint32_t kMagic = 0x4e545441, kVersion = 1, kHeader = 16, kTensorWords = 12,
                   kStepWords = 5;  // at least
constexpr uint32_t kLimit = 0x7fffffff;
constexpr int kOptional = 8;  // operators that take more inputs than this need each of them

struct Program {
  const uint32_t* words;
  uint32_t count, text_bytes;
  const char* text;
  uint32_t tensors, steps, inputs, outputs, arena_bytes, weight_bytes, file_bytes, stored;
};

Program g_program;
Tensor* g_tensors;
Step* g_steps;
const uint32_t* g_ports;
ort::Text g_error;

int fail(const char* what, const char* name = nullptr, int64_t step = -1) {
  g_error = {};
  if (step >= 0) g_error << "step " << step << ", " << name << ": ";
  g_error << what;
  return 1;
}

const char* text_at(uint32_t at) { return at < g_program.text_bytes ? g_program.text + at : ""; }

// Whether the memory reaches that far.
bool reaches(const void* from, uint64_t bytes) {
  return (uintptr_t)from + bytes <= (uint64_t)memory_bytes();
}

bool read_header(const uint32_t* words) {
  if (!reaches(words, kHeader * 4) || words[0] != kMagic || words[1] != kVersion) return false;
  Program& p = g_program;
  p = {words,    words[2], words[3], nullptr,  words[4], words[5],
       words[6], words[7], words[8], words[9], words[10], words[11]};
  if (p.count < kHeader || p.count > kLimit / 4 || p.text_bytes > kLimit) return false;
  if (!reaches(words, (uint64_t)p.count * 4 + p.text_bytes)) return false;
  p.text = (const char*)(words + p.count);
  const uint64_t fixed = kHeader + (uint64_t)p.tensors * kTensorWords + p.inputs + p.outputs +
                         (uint64_t)p.stored * 4 + (uint64_t)p.steps * kStepWords;
  if (fixed > p.count || p.arena_bytes > kLimit || p.weight_bytes > kLimit) return false;
  return p.text_bytes == 0 || p.text[p.text_bytes - 1] == 0;
}

bool is_type(uint32_t type) { return type <= kBool; }

bool read_tensor(const uint32_t* w, char* weights, char* arena, Tensor* t) {
  if (w[0] > 1 || !is_type(w[1]) || w[3] > (uint32_t)kRank) return false;
  *t = {(w[0] ? arena : weights) + w[2], (Type)w[1], (int)w[3], {}, 1};
  uint64_t elements = 1;
  for (int i = 0; i < kRank; ++i) {
    if (w[4 + i] > kLimit) return false;
    t->dims[i] = (Int)w[4 + i];
    if (i < t->rank) elements *= w[4 + i];
    if (elements > kLimit) return false;
  }
  t->elements = (Int)elements;
  const uint64_t end = w[2] + elements * (uint64_t)size_of(t->type);
  return w[2] % 64 == 0 && end <= (w[0] ? g_program.arena_bytes : g_program.weight_bytes);
}

float widen(uint16_t h) {
  const uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, rest = h & 1023;
  uint32_t bits = sign | (exponent + 112) << 23 | rest << 13;
  if (exponent == 31) bits = sign | 0x7f800000u | rest << 13;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  if (exponent) return value;
  value = (float)rest * 5.9604644775390625e-8f;  // 2^-24: zero and subnormals
  return sign ? -value : value;
}

bool read_stored(const uint32_t* w, const char* file, char* weights) {
  const Type type = (Type)w[0];
  if (!is_type(w[0]) && type != kFloat16) return false;
  const uint64_t from = w[1] + (uint64_t)w[3] * (type == kFloat16 ? 2 : size_of(type));
  const uint64_t to = w[2] + (uint64_t)w[3] * (type == kFloat16 ? 4 : size_of(type));
  if (from > g_program.file_bytes || to > g_program.weight_bytes || w[2] % 4 || w[1] % 2) return false;
  if (type != kFloat16) {
    __builtin_memcpy(weights + w[2], file + w[1], (size_t)(from - w[1]));
    return true;
  }
  const uint16_t* half = (const uint16_t*)(file + w[1]);
  float* out = (float*)(weights + w[2]);
  for (uint32_t i = 0; i < w[3]; ++i) out[i] = widen(half[i]);
  return true;
}

// The next `n` words of a step, or null past its end.
struct Words {
  const uint32_t* at;
  const uint32_t* end;
  const uint32_t* next(uint32_t n) {
    if (n > (uint32_t)(end - at)) return nullptr;
    const uint32_t* found = at;
    at += n;
    return found;
  }
};

const char* read_ports(Words* words, int count, const Tensor*** out, bool optional) {
  const uint32_t* numbers = words->next((uint32_t)count);
  const Tensor** made = (const Tensor**)keep(sizeof(Tensor*) * (size_t)(count + 1));
  if (!numbers || !made) return "the program is cut off";
  for (int i = 0; i < count; ++i) {
    const bool absent = numbers[i] == 0xffffffffu;
    if (absent ? !optional : numbers[i] >= g_program.tensors) return "it names no tensor";
    made[i] = absent ? nullptr : &g_tensors[numbers[i]];
  }
  *out = made;
  return nullptr;
}

const char* read_attributes(Words* words, Step* step) {
  Attribute* made = (Attribute*)keep(sizeof(Attribute) * (size_t)(step->attributes + 1));
  if (!made) return "out of memory";
  for (int i = 0; i < step->attributes; ++i) {
    const uint32_t* head = words->next(3);
    if (!head || head[1] > 2 || head[2] > kLimit) return "the program is cut off";
    const uint32_t* values = words->next(head[2]);
    if (!values) return "the program is cut off";
    if (head[1] == 2 && (head[2] != 1 || values[0] >= g_program.text_bytes)) return kBadAttribute;
    made[i] = {text_at(head[0]), (int)head[1], (int)head[2], values};
  }
  step->attribute = made;
  return nullptr;
}

const char* after(const char* text, const char* prefix) {
  for (; *prefix; ++prefix, ++text)
    if (*text != *prefix) return nullptr;
  return text;
}

const char* prepare(Step* step) {
  if (const char* name = after(step->name, "attnc.")) return prepare_fused(step, name);
  for (int i = 0; standard_operator(i); ++i) {
    const Operator& op = *standard_operator(i);
    if (!same(op.name, step->name)) continue;
    if (step->inputs < op.least || step->inputs > op.most || step->outputs > op.outputs ||
        step->outputs < 1)
      return "it has another number of inputs or outputs";
    const int needed = op.most > kOptional ? step->inputs : op.least;
    for (int k = 0; k < needed; ++k)
      if (!step->in[k]) return "an input is missing";
    step->run = op.run;
    return nullptr;
  }
  return "the engine has no such operator";
}

const char* read_step(Words words, Step* step) {
  const uint32_t* head = words.next(5);
  if (!head || head[2] > 4096 || head[3] > 4096 || head[4] > 64) return "the program is cut off";
  *step = {};
  step->name = text_at(head[1]);
  step->text = g_program.text;
  step->inputs = (int)head[2];
  step->outputs = (int)head[3];
  step->attributes = (int)head[4];
  const char* wrong = read_ports(&words, step->inputs, &step->in, true);
  if (!wrong) wrong = read_ports(&words, step->outputs, &step->out, false);
  if (!wrong) wrong = read_attributes(&words, step);
  return wrong ? wrong : prepare(step);
}

int read_steps(const uint32_t* at, const uint32_t* end) {
  g_steps = (Step*)keep(sizeof(Step) * (size_t)(g_program.steps + 1));
  if (!g_steps) return fail("out of memory");
  for (uint32_t i = 0; i < g_program.steps; ++i) {
    if (at >= end || at[0] < 5 || at[0] > (uint32_t)(end - at)) return fail("the program is cut off");
    g_steps[i].name = "";
    if (const char* wrong = read_step({at, at + at[0]}, &g_steps[i]))
      return fail(wrong, g_steps[i].name, i);
    at += at[0];
  }
  return 0;
}

int load(const uint32_t* words, const char* file, char* weights, char* arena) {
  if (!read_header(words)) return fail("this is not a program that the engine reads");
  const Program& p = g_program;
  if (!reaches(file, p.file_bytes) || !reaches(weights, p.weight_bytes) ||
      !reaches(arena, p.arena_bytes))
    return fail("the memory is too small for the program");
  g_tensors = (Tensor*)keep(sizeof(Tensor) * (size_t)(p.tensors + 1));
  if (!g_tensors) return fail("out of memory");
  const uint32_t* at = words + kHeader;
  for (uint32_t i = 0; i < p.tensors; ++i, at += kTensorWords)
    if (!read_tensor(at, weights, arena, &g_tensors[i])) return fail("a tensor is out of place");
  g_ports = at;
  for (uint32_t i = 0; i < p.inputs + p.outputs; ++i)
    if (*at++ >= p.tensors) return fail("an input or output names no tensor");
  for (uint32_t i = 0; i < p.stored; ++i, at += 4)
    if (!read_stored(at, file, weights)) return fail("a weight is out of place");
  return read_steps(at, words + p.count);
}

int run_step(uint32_t i) {
  const char* wrong = g_steps[i].run(g_steps[i]);
  begin_scratch();
  return wrong ? fail(wrong, g_steps[i].name, i) : 0;
}

}  // namespace
}  // namespace engine

using namespace engine;

// Reads the program and widens the weights of `file` into `weights`; `scratch` is the first byte
// after all of them, from which memory grows. 0, or 1 with a text at attnc_error().
__attribute__((export_name("attnc_load"))) int attnc_load(const uint32_t* program, const char* file,
                                                           char* weights, char* arena,
                                                           uintptr_t scratch) {
  g_program = {};
  set_scratch(scratch);
  const int status = load(program, file, weights, arena);
  if (status) g_program.steps = 0;
  begin_scratch();
  return status;
}

__attribute__((export_name("attnc_run"))) int attnc_run() {
  for (uint32_t i = 0; i < g_program.steps; ++i)
    if (const int status = run_step(i)) return status;
  return 0;
}

__attribute__((export_name("attnc_run_step"))) int attnc_run_step(uint32_t i) {
  return i < g_program.steps ? run_step(i) : fail("there is no such step");
}

__attribute__((export_name("attnc_error"))) const char* attnc_error() { return g_error.data; }
__attribute__((export_name("attnc_steps"))) uint32_t attnc_steps() { return g_program.steps; }

__attribute__((export_name("attnc_step_name"))) const char* attnc_step_name(uint32_t i) {
  return i < g_program.steps ? g_steps[i].name : "";
}

__attribute__((export_name("attnc_tensor"))) char* attnc_tensor(uint32_t i) {
  return i < g_program.tensors ? g_tensors[i].data : nullptr;
}

// The names of all operators: standard ones, then fused ones.
__attribute__((export_name("attnc_operator"))) const char* attnc_operator(int i) {
  int count = 0;
  while (standard_operator(count)) ++count;
  return i < count ? standard_operator(i)->name : fused_name(i - count);
}

__attribute__((export_name("attnc_set_threads"))) void attnc_set_threads(int n) { set_threads(n); }

#if defined(__wasm_atomics__)
__attribute__((export_name("attnc_worker"))) void attnc_worker() { serve(); }
__attribute__((export_name("attnc_quit"))) void attnc_quit() { quit(); }
#endif
