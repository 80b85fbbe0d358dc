// Fused operators: the tables that ONNX Runtime's layer uses, without ONNX Runtime.
#include "engine.h"

namespace attnc_wasm {
const AttncKernels* table();
}

namespace engine {
namespace {

struct Fused {
  const ort::OpInfo* info;
  ort::Params params;
  ort::Shape in[ort::kMaxInputs], out[ort::kMaxOutputs];
  ort::Call call;
};

struct Table {
  const ort::OpInfo* ops;
  int count;
};
constexpr Table kTables[] = {
#define ATTNC_TABLE(name, count) {ort::name, count},
    ATTNC_OP_FILES(ATTNC_TABLE)
#undef ATTNC_TABLE
};

const ort::OpInfo* at(int index) {
  for (const Table& table : kTables) {
    if (index < table.count) return &table.ops[index];
    index -= table.count;
  }
  return nullptr;
}

const ort::OpInfo* find(const char* name) {
  for (int i = 0; at(i); ++i)
    if (same(at(i)->name, name)) return at(i);
  return nullptr;
}

const char* read_attribute(const Step& step, const ort::AttributeSpec& spec, ort::Params* p) {
  const Attribute* given = step.find(spec.name);
  if (!given) return spec.required ? kBadAttribute : nullptr;
  char* place = (char*)p + spec.offset;
  if (spec.count == 0) {
    *(float*)place = given->real(0);
    return given->count == 1 ? nullptr : kBadAttribute;
  }
  if (given->count != spec.count || given->kind != 0) return kBadAttribute;
  for (int i = 0; i < spec.count; ++i) {
    const int64_t value = given->integer(i);
    if (value < spec.low || value > spec.high) return kBadAttribute;
    ((int64_t*)place)[i] = value;
  }
  return nullptr;
}

bool to_shape(const Tensor& t, ort::Shape* shape) {
  if (t.rank > ort::kMaxRank) return false;
  shape->rank = (size_t)t.rank;
  for (int i = 0; i < t.rank; ++i) shape->dims[i] = t.dims[i];
  return true;
}

bool is_shape(const Tensor& t, const ort::Shape& shape) {
  if ((size_t)t.rank != shape.rank) return false;
  for (int i = 0; i < t.rank; ++i)
    if (t.dims[i] != shape.dims[i]) return false;
  return true;
}

char letter(Type type) { return type == kInt64 ? 'l' : type == kFloat32 ? 'f' : '?'; }

const char* read_inputs(const Step& step, Fused* f) {
  const char* types = f->info->types;
  for (int i = 0; i < f->info->inputs; ++i) {
    const char wanted = *types ? *types++ : 'f';
    if (!step.in[i] || letter(step.in[i]->type) != wanted) return kBadType;
    if (!to_shape(*step.in[i], &f->in[i])) return kBadShape;
    f->call.in[i] = step.in[i]->f();
  }
  return nullptr;
}

const char* check_outputs(const Step& step, Fused* f) {
  for (int i = 0; f->info->outputs[i]; ++i) {
    if (i >= step.outputs || letter(step.out[i]->type) != f->info->outputs[i]) return kBadType;
    if (!is_shape(*step.out[i], f->out[i])) return kBadShape;
    f->call.out[i] = step.out[i]->data;
  }
  return nullptr;
}

const char* run_fused(const Step& step) {
  const Fused& f = *(const Fused*)step.fused;
  if (step.out[0]->elements == 0) return nullptr;
  switch (f.info->run(f.call)) {
    case kAttncOk:
      return nullptr;
    case kAttncNoMemory:
      return "out of memory";
    case kAttncBadIndex:
      return "an index is not the number of a token";
    default:
      return "the convolution's window has too many separate stretches";
  }
}

}  // namespace

const char* fused_name(int index) { return at(index) ? at(index)->name : nullptr; }

const char* prepare_fused(Step* step, const char* name) {
  Fused* f = (Fused*)keep(sizeof(Fused));
  if (!f) return "out of memory";
  *f = {};
  f->info = find(name);
  if (!f->info) return "the engine has no such operator";
  if (step->inputs != f->info->inputs) return "it has another number of inputs";
  f->params = ort::default_params();
  for (int i = 0; i < ort::kAttributeCount; ++i) {
    const ort::AttributeSpec& spec = ort::kAttributes[i];
    if (!ort::has_attribute(*f->info, spec.name)) continue;
    if (const char* wrong = read_attribute(*step, spec, &f->params)) return wrong;
  }
  if (const char* wrong = ort::check_params(*f->info, f->params)) return wrong;
  if (const char* wrong = read_inputs(*step, f)) return wrong;
  if (const char* wrong = f->info->shape(f->params, f->in, f->out)) return wrong;
  for (int i = 1; i < f->info->inputs; ++i) {
    const int64_t need = f->info->elements(f->params, f->in, f->out, i);
    if (need >= 0 && step->in[i]->elements != need) return kBadShape;
  }
  if (const char* wrong = check_outputs(*step, f)) return wrong;
  f->call.host = &kHost;
  f->call.kernels = attnc_wasm::table();
  f->call.p = &f->params;
  f->call.in_shapes = f->in;
  f->call.out_shapes = f->out;
  step->fused = f;
  step->run = run_fused;
  return nullptr;
}

}  // namespace engine
