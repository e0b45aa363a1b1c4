#include "decant/ops/rms_norm/fusions.h"

#include "decant/core/encoder.h"
#include "decant/ops/rms_norm/kernels.h"
#include "decant/ops/rms_norm/params.h"

namespace decant {
namespace {

bool same_range(const Buffer& a, const Buffer& b) {
  return a.storage() == b.storage() && a.byte_offset() == b.byte_offset() &&
         a.byte_len() == b.byte_len();
}

const RmsNormParams* params_of(const DispatchView& dispatch) {
  return dispatch.bytes<RmsNormParams>(0);
}

// norm: 0 params, 1 x, 2 out; mul: 0 params, 1 a, 2 b, 3 out.
bool norm_mul(const DispatchView& norm, const DispatchView& mul, CommandEncoder& encoder) {
  const RmsNormParams* params = params_of(norm);
  // Factors of one row are a weight. (Of a single row, any factors are.)
  if (!params || mul.buffer(2).elements() != params->row_elems) return false;
  encoder.dispatch(
      rms_norm_kernels(encoder.device()).rms_norm_weight,
      {bytes(*params), reads(norm.buffer(1)), reads(mul.buffer(2)), writes(mul.buffer(3))},
      norm->launch);
  return true;
}

// norm: 0 params, 1 x, 2 weight, 3 out; add: 0 params, 1 a, 2 b = the norm's out, 3 out.
bool norm_add(const DispatchView& norm, const DispatchView& add, CommandEncoder& encoder) {
  const RmsNormParams* params = params_of(norm);
  const Buffer& residual = add.buffer(1);
  if (!params || !same_range(residual, add.buffer(3)) ||
      residual.elements() != norm.buffer(1).elements())
    return false;
  encoder.dispatch(
      rms_norm_kernels(encoder.device()).rms_norm_add,
      {bytes(*params), reads(norm.buffer(1)), reads(norm.buffer(2)), reads_writes(residual)},
      norm->launch);
  return true;
}

// add: 0 params, 1 x, 2 weight, 3 residual; norm: 0 params, 1 x = the residual, 2 weight, 3 out.
bool norm_add_norm(const DispatchView& add, const DispatchView& norm, CommandEncoder& encoder) {
  const RmsNormParams *params = params_of(add), *next = params_of(norm);
  if (!params || !next || params->row_elems != next->row_elems) return false;
  const RmsNormParams both{
      .row_elems = params->row_elems, .eps = params->eps, .next_eps = next->eps};
  encoder.dispatch(rms_norm_kernels(encoder.device()).rms_norm_add_norm,
                   {bytes(both), reads(add.buffer(1)), reads(add.buffer(2)),
                    reads_writes(add.buffer(3)), reads(norm.buffer(2)), writes(norm.buffer(3))},
                   norm->launch);
  return true;
}

// add: 0 params, 1 a, 2 b, 3 out; norm: 0 params, 1 x = the sum, 2 weight, 3 out.
bool add_norm(const DispatchView& add, const DispatchView& norm, CommandEncoder& encoder) {
  const RmsNormParams* params = params_of(norm);
  // Not for a b that is broadcast.
  if (!params || add.buffer(2).elements() != add.buffer(3).elements()) return false;
  encoder.dispatch(rms_norm_kernels(encoder.device()).add_rms_norm,
                   {bytes(*params), reads(add.buffer(1)), reads(add.buffer(2)),
                    writes(add.buffer(3)), reads(norm.buffer(2)), writes(norm.buffer(3))},
                   norm->launch);
  return true;
}

}  // namespace

void add_rms_norm_fusions(KernelRegistry& registry) {
  registry.add_fusion({.name = "rms_norm+mul",
                       .first = "rms_norm_f32",
                       .second = "mul_f32",
                       .first_output = 2,
                       .second_input = 1,
                       .drops_intermediate = true,
                       .fuse = &norm_mul});
  registry.add_fusion({.name = "rms_norm+add",
                       .first = "rms_norm_weight_f32",
                       .second = "add_f32",
                       .first_output = 3,
                       .second_input = 2,
                       .drops_intermediate = true,
                       .fuse = &norm_add});
  registry.add_fusion({.name = "rms_norm_add+rms_norm",
                       .first = "rms_norm_add_f32",
                       .second = "rms_norm_weight_f32",
                       .first_output = 3,
                       .second_input = 1,
                       .fuse = &norm_add_norm});
  registry.add_fusion({.name = "add+rms_norm",
                       .first = "add_f32",
                       .second = "rms_norm_weight_f32",
                       .first_output = 3,
                       .second_input = 1,
                       .fuse = &add_norm});
}

}  // namespace decant
