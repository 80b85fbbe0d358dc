// ONNX Runtime's view of the kernels: custom operators of domain `attnc`, and their registration.
#include "ort_attributes.h"
#include "ort_drill.h"
#include "ort_infer.h"

extern "C" {
char* getenv(const char*);
void* malloc(size_t);
void free(void*);
}

namespace ort {
namespace {

struct Op : OrtCustomOp {
  const OpInfo* info;
  int isa;
};

struct Kernel {
  const OpInfo* info;
  const AttncKernels* kernels;
  Table api;
  OrtMemoryInfo* memory;
  Params params;
  const float* constant[kMaxInputs];  // weights that are initializers: used in place
  Shape shapes[kMaxInputs];           // theirs
  char node[96];
};

constexpr const char* kIsaNames[] = {"avx512+vnni",   "avx512",   "avx2",      "plain",
                                     "neon+fp16+dot", "neon+dot", "neon+fp16", "neon"};
constexpr int kIsas = 8;

// Published once each, never changed afterwards; a session keeps pointers to them.
Table g_api = nullptr;
OrtCustomOpDomain* g_domains[kIsas] = {};

const OpInfo& info_of(const OrtCustomOp* op) { return *static_cast<const Op*>(op)->info; }

OrtStatus* shape_of(Table api, const OrtValue* value, Shape* shape) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  OrtStatus* status = call<OrtStatus*>(api, kGetTensorTypeAndShape, value, &info);
  if (status) return status;
  status = call<OrtStatus*>(api, kGetDimensionsCount, info, &shape->rank);
  if (!status && shape->rank <= kMaxRank)
    status = call<OrtStatus*>(api, kGetDimensions, info, shape->dims, shape->rank);
  call<void>(api, kReleaseTensorTypeAndShapeInfo, info);
  return status;
}

int64_t elements_of(const Shape& shape) {
  int64_t n = 1;
  for (size_t i = 0; i < shape.rank; ++i) n *= shape.dims[i];
  return n;
}

size_t least_rank(size_t rank) { return rank <= kMaxRank ? rank : 0; }

OrtStatus* bad_shape(const Kernel& k, const Shape& x, const char* why, int input, int64_t got,
                     int64_t need) {
  Text t;
  t << "attnc::" << k.info->name << " (" << k.node << "): ";
  if (input > 0)
    t << "input " << (int64_t)input << " has " << got << " elements, needs " << need;
  else
    t << why;
  t << " for x of shape ";
  t.shape(x.dims, least_rank(x.rank));
  return error(k.api, t);
}

// ---------------------------------------------------------------- host services

struct Host {
  Table api;
  OrtKernelContext* context;
  const OrtMemoryInfo* memory;
  OrtAllocator* allocator;
  OrtStatus* status;
};

void* host_alloc(void* user, size_t bytes) {
  Host& h = *(Host*)user;
  if (!h.allocator)
    h.status =
        call<OrtStatus*>(h.api, kKernelContext_GetAllocator, h.context, h.memory, &h.allocator);
  void* raw = nullptr;
  if (!h.status)
    h.status = call<OrtStatus*>(h.api, kAllocatorAlloc, h.allocator, bytes + 128, &raw);
  if (h.status || !raw) return nullptr;
  char* aligned = (char*)(((uintptr_t)raw + 127) & ~(uintptr_t)63);
  ((void**)aligned)[-1] = raw;
  return aligned;
}

void host_free(void* user, void* memory) {
  Host& h = *(Host*)user;
  failed(h.api, call<OrtStatus*>(h.api, kAllocatorFree, h.allocator, ((void**)memory)[-1]));
}

void host_parallel(void* user, size_t tasks, void (*task)(void*, size_t), void* arg) {
  Host& h = *(Host*)user;
  if (tasks == 1) return task(arg, 0);
  OrtStatus* s =
      call<OrtStatus*>(h.api, kKernelContext_ParallelFor, h.context, task, tasks, (size_t)0, arg);
  if (s && h.status)
    failed(h.api, s);
  else if (s)
    h.status = s;
}

// ---------------------------------------------------------------- kernels

OrtStatus* create(const OrtCustomOp* self, Table api, const OrtKernelInfo* info, void** out) {
  const OpInfo& op = info_of(self);
  Kernel* k = (Kernel*)malloc(sizeof(Kernel));
  Text t;
  if (!k) return error(api, t << "attnc: out of memory", kFail);
  *k = {};
  k->info = &op;
  k->api = api;
  const char* available;
  k->kernels = attnc_select(kIsaNames[static_cast<const Op*>(self)->isa], &available);
  OrtStatus* s = read_params(api, info, op, &k->params);
  if (!s) s = call<OrtStatus*>(api, kCreateCpuMemoryInfo, 1, 0, &k->memory);  // arena, default
  size_t length = sizeof(k->node);
  if (failed(api, call<OrtStatus*>(api, kKernelInfo_GetNodeName, info, k->node, &length)))
    k->node[0] = 0;
  for (int i = 1; i < op.inputs && !s; ++i) {
    int constant = 0;
    const OrtValue* value = nullptr;
    s = call<OrtStatus*>(api, kKernelInfoGetConstantInput_tensor, info, (size_t)i, &constant,
                         &value);
    if (s || !constant) continue;
    s = shape_of(api, value, &k->shapes[i]);
    if (!s)
      s = call<OrtStatus*>(api, kGetTensorMutableData, const_cast<OrtValue*>(value),
                           (void**)&k->constant[i]);
  }
  if (s) {
    if (k->memory) call<void>(api, kReleaseMemoryInfo, k->memory);
    free(k);
    return s;
  }
  *out = k;
  return nullptr;
}

void destroy(void* kernel) {
  if (!kernel) return;
  Kernel* k = (Kernel*)kernel;
  call<void>(k->api, kReleaseMemoryInfo, k->memory);
  free(k);
}

// Every input's shape and data; weights that are initializers are known already.
OrtStatus* gather(const Kernel& k, OrtKernelContext* context, Shape* shapes, Call* c) {
  for (int i = 0; i < k.info->inputs; ++i) {
    c->in[i] = k.constant[i];
    shapes[i] = k.shapes[i];
    if (c->in[i]) continue;
    const OrtValue* value = nullptr;
    OrtStatus* s = call<OrtStatus*>(k.api, kKernelContext_GetInput, context, (size_t)i, &value);
    if (!s) s = shape_of(k.api, value, &shapes[i]);
    if (!s)
      s = call<OrtStatus*>(k.api, kGetTensorMutableData, const_cast<OrtValue*>(value),
                           (void**)&c->in[i]);
    if (s) return s;
    if (shapes[i].rank > kMaxRank)
      return bad_shape(k, shapes[i], "more dimensions than any operator takes", 0, 0, 0);
  }
  return nullptr;
}

// The outputs' shapes, and the check of every weight's size.
OrtStatus* settle(const Kernel& k, const Shape* in, Shape* out) {
  if (const char* why = k.info->shape(k.params, in, out)) return bad_shape(k, in[0], why, 0, 0, 0);
  for (int i = 1; i < k.info->inputs; ++i) {
    const int64_t need = k.info->elements(k.params, in, out, i), n = elements_of(in[i]);
    if (need >= 0 && n != need) return bad_shape(k, in[0], "", i, n, need);
  }
  return nullptr;
}

OrtStatus* make_outputs(const Kernel& k, OrtKernelContext* context, const Shape* shapes, Call* c) {
  for (int i = 0; k.info->outputs[i]; ++i) {
    OrtValue* output = nullptr;
    OrtStatus* s = call<OrtStatus*>(k.api, kKernelContext_GetOutput, context, (size_t)i,
                                    (const int64_t*)shapes[i].dims, shapes[i].rank, &output);
    if (!s) s = call<OrtStatus*>(k.api, kGetTensorMutableData, output, (void**)&c->out[i]);
    if (s) return s;
  }
  return nullptr;
}

OrtStatus* finish(const Kernel& k, Host& host, AttncStatus result) {
  if (host.allocator) call<void>(k.api, kReleaseAllocator, host.allocator);
  if (host.status || result == kAttncOk) return host.status;
  Text t;
  t << "attnc::" << k.info->name << " (" << k.node << "): "
    << (result == kAttncNoMemory   ? "out of memory"
        : result == kAttncBadIndex ? "an index is not the number of a token"
                                   : "the convolution's window has too many separate stretches");
  return error(k.api, t, kFail);
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Kernel& k = *(const Kernel*)kernel;
  Shape in[kMaxInputs], out[kMaxOutputs] = {};
  Call c = {};
  OrtStatus* s = gather(k, context, in, &c);
  if (!s) s = settle(k, in, out);
  if (!s) s = make_outputs(k, context, out, &c);
  if (s) return s;
  if (elements_of(out[0]) == 0) return nullptr;
  Host services = {k.api, context, k.memory, nullptr, nullptr};
  const AttncHost host = {&services, host_alloc, host_free, host_parallel};
  c.host = &host;
  c.kernels = k.kernels;
  c.p = &k.params;
  c.in_shapes = in;
  c.out_shapes = out;
#ifdef ATTNC_DRILL
  const Drill drill(k.info->name);
#endif
  return finish(k, services, k.info->run(c));
}

// ---------------------------------------------------------------- registration

OrtStatus* infer(const OrtCustomOp* op, OrtShapeInferContext* context) {
  return infer_shape(__atomic_load_n(&g_api, __ATOMIC_ACQUIRE), info_of(op), context);
}

const char* name_of(const OrtCustomOp* op) { return info_of(op).name; }
const char* provider(const OrtCustomOp*) { return "CPUExecutionProvider"; }
int output_type(const OrtCustomOp* op, size_t i) { return element_type(info_of(op).outputs[i]); }
int input_type(const OrtCustomOp* op, size_t i) {
  const char* types = info_of(op).types;
  for (size_t at = 0; at < i && *types; ++at) ++types;
  return element_type(*types);
}
size_t input_count(const OrtCustomOp* op) { return (size_t)info_of(op).inputs; }
size_t output_count(const OrtCustomOp* op) {
  size_t n = 0;
  while (n < kMaxOutputs && info_of(op).outputs[n]) ++n;  // bounded: else a call of strlen
  return n;
}
int zero_at(const OrtCustomOp*, size_t) { return 0; }
int zero(const OrtCustomOp*) { return 0; }
int first_version(const OrtCustomOp*) { return 1; }
int last_version(const OrtCustomOp*) { return 0x7fffffff; }

Op make(int isa, const OpInfo* info) {
  Op o = {};
  o.version = kApiVersion;
  o.GetName = name_of;
  o.GetExecutionProviderType = provider;
  o.GetInputType = input_type;
  o.GetOutputType = output_type;
  o.GetInputTypeCount = input_count;
  o.GetOutputTypeCount = output_count;
  o.KernelDestroy = destroy;
  o.GetInputCharacteristic = o.GetOutputCharacteristic = o.GetInputMemoryType = zero_at;
  o.GetVariadicInputMinArity = o.GetVariadicInputHomogeneity = zero;
  o.GetVariadicOutputMinArity = o.GetVariadicOutputHomogeneity = zero;
  o.CreateKernelV2 = create;
  o.KernelComputeV2 = compute;
  o.InferOutputShapeFn = infer;
  o.GetStartVersion = first_version;
  o.GetEndVersion = last_version;
  o.info = info;
  o.isa = isa;
  return o;
}

#define ATTNC_COUNT_OPS(name, count) +count
constexpr int kOps = ATTNC_ALL_OP_FILES(ATTNC_COUNT_OPS);
#undef ATTNC_COUNT_OPS

// The operators of one instruction set. Made when first asked for: as constants they would be a tenth
// of the library, most of it relocations.
Op* make_ops(int isa) {
  Op* ops = (Op*)malloc(sizeof(Op) * kOps);
  int at = 0;
#define ATTNC_MAKE_OPS(name, count) \
  for (int op = 0; ops && op < count; ++op) ops[at++] = make(isa, &name[op]);
  ATTNC_ALL_OP_FILES(ATTNC_MAKE_OPS)
#undef ATTNC_MAKE_OPS
  return ops;
}

int isa_index(const char* name) {
  for (int i = 0; i < kIsas; ++i) {
    int j = 0;
    while (name[j] && name[j] == kIsaNames[i][j]) ++j;
    if (name[j] == kIsaNames[i][j]) return i;
  }
  return -1;
}

OrtStatus* make_domain(Table api, const Op* ops, OrtCustomOpDomain** out) {
  OrtStatus* s = call<OrtStatus*>(api, kCreateCustomOpDomain, "attnc", out);
  for (int i = 0; i < kOps && !s; ++i)
    s = call<OrtStatus*>(api, kCustomOpDomain_Add, *out, static_cast<const OrtCustomOp*>(&ops[i]));
  return s;
}

// The domain of this instruction set, made at its first use in the process and never given back:
// sessions that are still open hold its operators.
OrtStatus* domain_of(Table api, int isa, OrtCustomOpDomain** out) {
  *out = __atomic_load_n(&g_domains[isa], __ATOMIC_ACQUIRE);
  if (*out) return nullptr;
  Text t;
  Op* ops = make_ops(isa);
  if (!ops) return error(api, t << "attnc: out of memory", kFail);
  OrtCustomOpDomain* made = nullptr;
  OrtStatus* s = make_domain(api, ops, &made);
  if (!s && __atomic_compare_exchange_n(&g_domains[isa], out, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
    *out = made;
    return nullptr;
  }
  if (made) call<void>(api, kReleaseCustomOpDomain, made);
  free(ops);
  return s;
}

OrtStatus* too_old(const OrtApiBase* base) {
  const Table api = base->GetApi(1);
  Text t;
  t << "attnc: the kernels need ONNX Runtime 1.17 or newer, this is " << base->GetVersionString();
  return api ? error(api, t, kFail) : nullptr;
}

}  // namespace
}  // namespace ort

#if defined(_WIN32)
#define ATTNC_EXPORT extern "C" __declspec(dllexport)
#else
#define ATTNC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

ATTNC_EXPORT ort::OrtStatus* RegisterCustomOps(ort::OrtSessionOptions* options,
                                               const ort::OrtApiBase* base) {
  using namespace ort;
  const Table api = base->GetApi(kApiVersion);
  if (!api) return too_old(base);
  const char* wanted = getenv("ATTNC_CPU_ISA");
  const char* available;
  const AttncKernels* kernels = attnc_select(wanted, &available);
  Text t;
  if (!kernels)
    return error(api,
                 t << "attnc: ATTNC_CPU_ISA=" << wanted
                   << " is unknown or not available on this processor, which has: " << available);
  Table none = nullptr;
  if (!__atomic_compare_exchange_n(&g_api, &none, api, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
      none != api)
    return error(api,
                 t << "attnc: this process already registered the kernels in another ONNX Runtime",
                 kFail);
  OrtCustomOpDomain* domain = nullptr;
  OrtStatus* s = domain_of(api, isa_index(kernels->isa), &domain);
  return s ? s : call<OrtStatus*>(api, kAddCustomOpDomain, options, domain);
}
