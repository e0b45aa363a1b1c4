// The slots of the CPU's two kernels of sample.
#ifndef DECANT_OPS_SAMPLE_PLAN_H_
#define DECANT_OPS_SAMPLE_PLAN_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/kernel_registry.h"
#include "decant/ops/sample/params.h"

namespace decant {

// The arguments of both kernels, by slot.
struct SampleSlots {
  explicit SampleSlots(const CpuGroup& group)
      : params(group.params<SampleParams>()),
        shape(*group.arg<const SampleShape>(1)),
        logits(group.arg<const float>(2)),
        history(group.arg<int32_t>(3)),
        state(group.arg<SampleState>(4)),
        workspace(group.arg<std::byte>(5)) {}

  const SampleParams& params;
  const SampleShape& shape;
  const float* logits;
  int32_t* history;
  SampleState* state;
  std::byte* workspace;
};

}  // namespace decant

#endif  // DECANT_OPS_SAMPLE_PLAN_H_
