// The command line of the runner.
#pragma once
#include "text.h"

namespace runner {

constexpr int kMostCases = 64, kMostRank = 8;

// One tensor to run the model on: raw bytes in a file, in the element type of the model's input.
struct Input {
  char* name = nullptr;
  char* file = nullptr;
  int64_t shape[kMostRank] = {};
  size_t rank = 0;
};

struct Options {
  const char* model = nullptr;
  const char* ort = nullptr;
  const char* kernels = nullptr;
  const char* output = nullptr;
  const char* cpus = nullptr;
  long threads = 1, iterations = 0, warmup = 1;
  double seconds = 0;
  int cases = 0;
  Input inputs[kMostCases];
};

// A whole number of at least `least`; -1 if the text is none.
inline long whole(const char* text, long least) {
  char* end = nullptr;
  const long value = strtol(text, &end, 10);
  return *text && !*end && value >= least && value < 100000000 ? value : -1;
}

// NAME=FILE@1x3x64x64, taken apart in place.
inline bool parse_input(char* text, Input& input) {
  char* equals = strchr(text, '=');
  char* at = strrchr(text, '@');
  if (!equals || !at || at < equals) return false;
  *equals = *at = 0;
  input.name = text;
  input.file = equals + 1;
  for (char* size = at + 1; input.rank < kMostRank; ++size) {
    char* end = nullptr;
    input.shape[input.rank++] = strtoll(size, &end, 10);
    if (end == size || input.shape[input.rank - 1] < 1) return false;
    if (!*end) return true;
    if (*end != 'x') return false;
    size = end;
  }
  return false;
}

inline bool set(Options& o, const char* option, char* value) {
  const auto is = [option](const char* name) { return strcmp(option, name) == 0; };
  if (is("--model")) return (o.model = value);
  if (is("--ort")) return (o.ort = value);
  if (is("--kernels")) return (o.kernels = value);
  if (is("--output-dir")) return (o.output = value);
  if (is("--cpus")) return (o.cpus = value);
  if (is("--threads")) return (o.threads = whole(value, 1)) > 0;
  if (is("--iterations")) return (o.iterations = whole(value, 0)) >= 0;
  if (is("--warmup")) return (o.warmup = whole(value, 0)) >= 0;
  if (is("--seconds")) return (o.seconds = strtod(value, nullptr)) > 0;
  if (is("--input")) return o.cases < kMostCases && parse_input(value, o.inputs[o.cases++]);
  return false;
}

// kOk, or kUsage with a line on stderr.
inline int parse(int count, char** words, Options& o) {
  for (int i = 1; i < count; i += 2) {
    if (i + 1 == count) return fail(kUsage, "a value is missing after ", words[i]);
    if (!set(o, words[i], words[i + 1])) return fail(kUsage, "not possible: ", words[i]);
  }
  if (!o.model || !o.ort || !o.output || !o.cases)
    return fail(kUsage, "--model, --ort, --output-dir and --input are needed");
  return kOk;
}

}  // namespace runner
