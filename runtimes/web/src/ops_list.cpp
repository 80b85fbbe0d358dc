#include "ops.h"

namespace engine {
namespace {

constexpr Operator kOperators[] = {
#define ATTNC_ROW(name, run, least, most, outputs) {#name, least, most, outputs, run},
    ATTNC_STANDARD(ATTNC_ROW)
#undef ATTNC_ROW
};
constexpr int kCount = sizeof(kOperators) / sizeof(kOperators[0]);

}  // namespace

const Operator* standard_operator(int index) {
  return index >= 0 && index < kCount ? &kOperators[index] : nullptr;
}

}  // namespace engine
