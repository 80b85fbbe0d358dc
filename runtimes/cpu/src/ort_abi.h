// The part of ONNX Runtime's C interface that this library uses, written out by hand because no
// wheel ships the headers. The function table is append-only: entries are addressed by index, and
// every index below exists since version 17 (a test compares them with real headers).
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace ort {

constexpr uint32_t kApiVersion = 17;  // first version with ParallelFor and InferOutputShapeFn

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;
struct OrtAllocator;
struct OrtMemoryInfo;
struct OrtOpAttr;

using Table = void* const*;  // OrtApi seen as an array of function pointers
struct OrtApiBase {
  Table (*GetApi)(uint32_t);
  const char* (*GetVersionString)();
};

enum Index : size_t {
  kCreateStatus = 0,
  kCreateCustomOpDomain = 26,
  kCustomOpDomain_Add = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kCreateTensorTypeAndShapeInfo = 57,
  kSetTensorElementType = 58,
  kSetDimensions = 59,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetSymbolicDimensions = 63,
  kGetTensorShapeElementCount = 64,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kAllocatorAlloc = 75,
  kAllocatorFree = 76,
  kKernelInfoGetAttribute_float = 85,
  kKernelInfoGetAttribute_int64 = 86,
  kKernelContext_GetInput = 90,
  kKernelContext_GetOutput = 91,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseTensorTypeAndShapeInfo = 99,
  kReleaseCustomOpDomain = 101,
  kReleaseAllocator = 132,
  kKernelInfoGetAttributeArray_int64 = 163,
  kKernelInfo_GetNodeName = 244,
  kKernelInfoGetConstantInput_tensor = 249,
  kKernelContext_GetAllocator = 253,
  kShapeInferContext_GetInputTypeShape = 268,
  kShapeInferContext_GetAttribute = 269,
  kShapeInferContext_SetOutputTypeShape = 270,
  kSetSymbolicDimensions = 271,
  kReadOpAttr = 272,
  kKernelContext_ParallelFor = 274,
};

template <class R, class... A>
inline R call(Table t, Index i, A... a) {
  return reinterpret_cast<R (*)(A...)>(t[i])(a...);
}

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int { kFloat = 1, kInt8 = 3, kInt64 = 7, kFloat16 = 10 };
enum AttributeType : int { kInt = 1, kInts = 2, kFloatAttribute = 3 };

struct OrtCustomOp {  // unchanged since 1.17; later fields are appended and gated by `version`
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, Table, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, Table, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int**, int**);
  void (*ReleaseMayInplace)(int*, int*);
  size_t (*GetAliasMap)(int**, int**);
  void (*ReleaseAliasMap)(int*, int*);
};
static_assert(sizeof(OrtCustomOp) == 26 * sizeof(void*), "OrtCustomOp layout");

}  // namespace ort
