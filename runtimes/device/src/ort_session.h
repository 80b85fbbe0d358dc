// ONNX Runtime opened at run time, through its C interface addressed by index: no header, no
// linking. The indices exist since the first version of the table.
#pragma once
#include <dlfcn.h>

#include "../../cpu/src/ort_abi.h"
#include "text.h"

namespace runner {

using ort::Table;

// Entries of the table that only a program that owns a session needs.
enum Entry : size_t {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSession = 7,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetIntraOpNumThreads = 24,
  kSessionGetOutputCount = 31,
  kSessionGetOutputName = 37,
  kCreateTensorWithDataAsOrtValue = 49,
  kGetAllocatorWithDefaultOptions = 78,
  kReleaseEnv = 92,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseSessionOptions = 100,
};

constexpr int kMostOutputs = 16;
constexpr int kWarning = 2, kArena = 1, kDefaultMemory = 0;

template <class R, class... A>
inline R at(Table t, size_t entry, A... a) {
  return reinterpret_cast<R (*)(A...)>(t[entry])(a...);
}

// Everything that must be given back, in the order in which ONNX Runtime allows it.
struct Session {
  Table api = nullptr;
  void *library = nullptr, *kernels = nullptr, *env = nullptr, *options = nullptr;
  void *session = nullptr, *memory = nullptr, *allocator = nullptr;
  char* names[kMostOutputs] = {};
  size_t outputs = 0;
  const char* version = "";

  ~Session() {
    if (api) {
      for (size_t i = 0; i < outputs; ++i) drop(at<void*>(api, ort::kAllocatorFree, allocator, names[i]));
      release(ort::kReleaseMemoryInfo, memory);
      release(kReleaseSession, session);
      release(kReleaseSessionOptions, options);
      release(kReleaseEnv, env);
    }
    // Both libraries stay loaded to the end of the process: the kernels hold their domain, and
    // threads of ONNX Runtime may outlive the env.
  }

  // True if the call went well; says what is wrong otherwise.
  bool good(void* status, const char* doing) {
    if (!status) return true;
    const char* message = at<const char*>(api, kGetErrorMessage, status);
    fail(kModel, doing, message);
    drop(status);
    return false;
  }
  void drop(void* status) {
    if (status) at<void>(api, ort::kReleaseStatus, status);
  }
  void release(size_t entry, void* what) {
    if (what) at<void>(api, entry, what);
  }
};

inline int load_runtime(Session& s, const char* path) {
  s.library = dlopen(path, RTLD_NOW);
  if (!s.library) return fail(kLibrary, "ONNX Runtime does not load: ", dlerror());
  const auto get = reinterpret_cast<const ort::OrtApiBase* (*)()>(dlsym(s.library, "OrtGetApiBase"));
  if (!get) return fail(kLibrary, "this is no ONNX Runtime: ", path);
  const ort::OrtApiBase* base = get();
  s.version = base->GetVersionString();
  s.api = base->GetApi(ort::kApiVersion);
  return s.api ? kOk : fail(kLibrary, "ONNX Runtime is older than 1.17: ", s.version);
}

inline int load_kernels(Session& s, const char* path) {
  s.kernels = dlopen(path, RTLD_NOW);
  if (!s.kernels) return fail(kLibrary, "the kernels do not load: ", dlerror());
  using Register = void* (*)(void*, const ort::OrtApiBase*);
  const auto put = reinterpret_cast<Register>(dlsym(s.kernels, "RegisterCustomOps"));
  const auto get = reinterpret_cast<const ort::OrtApiBase* (*)()>(dlsym(s.library, "OrtGetApiBase"));
  if (!put) return fail(kLibrary, "this is no kernel library: ", path);
  return s.good(put(s.options, get()), "the kernels do not register: ") ? kOk : kLibrary;
}

// The model with its kernels, if any; kOk, or what is wrong is on stderr.
inline int open_session(Session& s, const char* ort_path, const char* kernels, const char* model, int threads) {
  if (const int wrong = load_runtime(s, ort_path)) return wrong;
  if (!s.good(at<void*>(s.api, kCreateEnv, kWarning, "attnc-runner", &s.env), "")) return kLibrary;
  if (!s.good(at<void*>(s.api, kCreateSessionOptions, &s.options), "")) return kLibrary;
  if (!s.good(at<void*>(s.api, kSetIntraOpNumThreads, s.options, threads), "threads: ")) return kModel;
  if (kernels)
    if (const int wrong = load_kernels(s, kernels)) return wrong;
  const void* env = s.env;
  const void* options = s.options;
  if (!s.good(at<void*>(s.api, kCreateSession, env, model, options, &s.session), "the model does not load: "))
    return kModel;
  if (!s.good(at<void*>(s.api, ort::kCreateCpuMemoryInfo, kArena, kDefaultMemory, &s.memory), "")) return kModel;
  if (!s.good(at<void*>(s.api, kGetAllocatorWithDefaultOptions, &s.allocator), "")) return kModel;
  size_t count = 0;
  if (!s.good(at<void*>(s.api, kSessionGetOutputCount, s.session, &count), "")) return kModel;
  if (count > kMostOutputs) return fail(kModel, "the model has too many outputs");
  for (; s.outputs < count; ++s.outputs)
    if (!s.good(at<void*>(s.api, kSessionGetOutputName, s.session, s.outputs, s.allocator, &s.names[s.outputs]), ""))
      return kModel;
  return kOk;
}

}  // namespace runner
