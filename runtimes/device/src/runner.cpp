// Runs a bundle's model on a device without Python: outputs of every input, then timed runs of
// the first one, and what the device says of its temperature and clocks meanwhile.
#include <sched.h>
#include <time.h>

#include "facts.h"
#include "options.h"
#include "ort_session.h"

namespace runner {

constexpr long long kSecond = 1000000000;

long long now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

// "4-7,0" as the set of cores of this process and the threads it will start.
bool pin(const char* cpus) {
  unsigned long mask[kMostCores / (8 * sizeof(unsigned long))] = {};
  const long bits = 8 * sizeof(unsigned long);
  for (const char* from = cpus; *from;) {
    char* end = nullptr;
    const long low = strtol(from, &end, 10);
    long high = low;
    if (end == from) return false;
    if (*end == '-') high = strtol(from = end + 1, &end, 10);
    if (end == from || low < 0 || high < low || high >= kMostCores) return false;
    for (long core = low; core <= high; ++core) mask[core / bits] |= 1UL << core % bits;
    if (*end && *end != ',') return false;
    from = *end ? end + 1 : end;
  }
  return sched_setaffinity(0, sizeof mask, reinterpret_cast<cpu_set_t*>(mask)) == 0;
}

// An input tensor over the bytes of its file.
struct Tensor {
  Bytes bytes;
  void* value = nullptr;
};

struct Outputs {
  Session& s;
  void* values[kMostOutputs] = {};
  explicit Outputs(Session& session) : s(session) {}
  ~Outputs() { clear(); }
  void clear() {
    for (void*& value : values) {
      s.release(kReleaseValue, value);
      value = nullptr;
    }
  }
};

int make_tensor(Session& s, const Input& input, Tensor& tensor) {
  if (!read_file(input.file, tensor.bytes)) return fail(kFile, "cannot read ", input.file);
  size_t count = 1;
  for (size_t i = 0; i < input.rank; ++i) count *= input.shape[i];
  if (tensor.bytes.size != count * sizeof(float))
    return fail(kUsage, "the file has another size than its shape: ", input.file);
  const void* memory = s.memory;
  void* data = tensor.bytes.data;
  const int64_t* shape = input.shape;
  void* status = at<void*>(s.api, kCreateTensorWithDataAsOrtValue, memory, data, tensor.bytes.size,
                           shape, input.rank, static_cast<int>(ort::kFloat), &tensor.value);
  return s.good(status, "the input is refused: ") ? kOk : kModel;
}

int run(Session& s, const Input& input, Tensor& tensor, Outputs& outputs) {
  const char* name = input.name;
  const void* value = tensor.value;
  const void* no_options = nullptr;
  void* status = at<void*>(s.api, kRun, s.session, no_options, &name, &value, size_t{1}, s.names,
                           s.outputs, static_cast<void**>(outputs.values));
  return s.good(status, "the model does not run: ") ? kOk : kModel;
}

// One output to `case<i>-<j>.raw`, with its name, shape and element type in the report.
int save(Session& s, void* value, const char* folder, int index, size_t which, Json& json) {
  void* info = nullptr;
  int type = 0;
  size_t rank = 0, count = 0;
  int64_t shape[kMostRank] = {};
  void* data = nullptr;
  if (!s.good(at<void*>(s.api, ort::kGetTensorTypeAndShape, value, &info), "")) return kModel;
  s.drop(at<void*>(s.api, ort::kGetTensorElementType, info, &type));
  s.drop(at<void*>(s.api, ort::kGetDimensionsCount, info, &rank));
  if (rank <= kMostRank) s.drop(at<void*>(s.api, ort::kGetDimensions, info, shape, rank));
  s.drop(at<void*>(s.api, ort::kGetTensorShapeElementCount, info, &count));
  s.release(ort::kReleaseTensorTypeAndShapeInfo, info);
  if (type != ort::kFloat && type != ort::kInt64) return fail(kModel, "an output of another type");
  if (rank > kMostRank) return fail(kModel, "an output of too many dimensions");
  if (!s.good(at<void*>(s.api, ort::kGetTensorMutableData, value, &data), "")) return kModel;
  Bytes path;
  char file[48];
  snprintf(file, sizeof file, "case%d-%zu.raw", index, which);
  path.add(folder);
  path.add("/");
  path.add(file);
  if (!write_file(path.data, data, count * (type == ort::kFloat ? 4 : 8)))
    return fail(kFile, "cannot write (is the disk full?) ", path.data);
  json.open('{');
  json.number(index, "case");
  json.text(s.names[which], "name");
  json.text(file, "file");
  json.text(type == ort::kFloat ? "float32" : "int64", "dtype");
  json.open('[', "shape");
  for (size_t i = 0; i < rank; ++i) json.number(shape[i]);
  json.close(']');
  json.close('}');
  return kOk;
}

int run_cases(Session& s, const Options& o, Json& json) {
  json.open('[', "outputs");
  for (int index = 0; index < o.cases; ++index) {
    Tensor tensor;
    Outputs outputs(s);
    int wrong = make_tensor(s, o.inputs[index], tensor);
    if (!wrong) wrong = run(s, o.inputs[index], tensor, outputs);
    for (size_t which = 0; !wrong && which < s.outputs; ++which)
      wrong = save(s, outputs.values[which], o.output, index, which, json);
    s.release(kReleaseValue, tensor.value);
    if (wrong) return wrong;
  }
  json.close(']');
  return kOk;
}

// Until both `iterations` and `seconds` are reached; the sensors are read between runs.
int timed_runs(Session& s, const Options& o, const Input& input, Tensor& tensor, Json& samples, Json& during) {
  const long long begin = now();
  long long last_reading = begin;
  const double limit = o.seconds * kSecond;
  for (long turn = 0; turn < o.iterations || double(now() - begin) < limit; ++turn) {
    Outputs outputs(s);
    const long long start = now();
    if (const int wrong = run(s, input, tensor, outputs)) return wrong;
    const long long end = now();
    samples.number(end - start);
    if (end - last_reading < kSecond) continue;
    reading(during, end - begin);
    last_reading = now();
  }
  return kOk;
}

int measure(Session& s, const Options& o, Json& json) {
  Tensor tensor;
  Json samples, during;
  int wrong = make_tensor(s, o.inputs[0], tensor);
  for (long turn = 0; !wrong && turn < o.warmup; ++turn) {
    Outputs outputs(s);
    wrong = run(s, o.inputs[0], tensor, outputs);
  }
  reading(json, 0, "before");
  samples.open('[');
  during.open('[');
  const long long begin = now();
  if (!wrong) wrong = timed_runs(s, o, o.inputs[0], tensor, samples, during);
  samples.close(']');
  during.close(']');
  s.release(kReleaseValue, tensor.value);
  reading(json, now() - begin, "after");
  json.add(",\"during\":");
  json.add(during.data);
  json.add(",\"samples_ns\":");
  json.add(samples.data);
  return wrong;
}

int work(const Options& o) {
  const long long begin = now();
  if (o.cpus && !pin(o.cpus)) return fail(kUsage, "cannot pin to these cores: ", o.cpus);
  Session s;
  if (const int wrong = open_session(s, o.ort, o.kernels, o.model, int(o.threads))) return wrong;
  Json json;
  json.open('{');
  json.text(s.version, "onnxruntime");
  json.number(o.threads, "threads");
  json.text(o.cpus ? o.cpus : "", "cpus");
  json.number(now() - begin, "create_ns");
  if (const int wrong = run_cases(s, o, json)) return wrong;
  if (const int wrong = measure(s, o, json)) return wrong;
  memory(json);
  processor(json);
  json.close('}');
  Bytes path;
  path.add(o.output);
  path.add("/report.json");
  return write_file(path.data, json.data, json.size) ? kOk : fail(kFile, "cannot write ", path.data);
}

}  // namespace runner

int main(int count, char** words) {
  runner::Options options;
  if (const int wrong = runner::parse(count, words, options)) return wrong;
  return runner::work(options);
}
