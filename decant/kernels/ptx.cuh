// The few instructions that CUDA C++ has no words for without headers. For CUDA kernels; compiled
// by NVRTC, so no standard headers.
#ifndef DECANT_KERNELS_PTX_CUH_
#define DECANT_KERNELS_PTX_CUH_

namespace decant {

// Programmatic dependent launch. A kernel may start while the one before it still runs; what it
// reads before wait_for_previous() must not be written by that one. Letting the next one start only
// after the own wait keeps two kernels from overlapping with a third: what was written two kernels
// before, or earlier, is always there. A kernel that lets it start at once gives that up for the
// next one, not for those behind it; what comes after the wait is the same, since a kernel ends
// after its own wait.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// A barrier of the block's first kThreads threads.
template <uint32_t kThreads>
__device__ inline void barrier_of_first() {
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Starts a copy of 16 bytes to shared memory, of which the first `bytes` come from memory and the
// rest are zeros. Both addresses are multiples of 16.
__device__ inline void copy_async_16(void* shared, const void* from, uint32_t bytes = 16) {
  asm volatile(
      "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
      "l"(from), "r"(bytes)
      : "memory");
}
// Starts a copy of those of the 16 bytes at `at`, a multiple of 16, that lie in [begin, end). One by
// one where they are not all: of a copy of 16 bytes cut short, memcheck takes all 16 to be read.
__device__ inline void copy_async_clipped(uint8_t* shared, uint64_t at, uint64_t begin,
                                          uint64_t end) {
  if (at >= begin && at + 16 <= end) {
    copy_async_16(shared, reinterpret_cast<const void*>(at));
  } else {
#pragma unroll 1
    for (uint64_t from = at > begin ? at : begin; from < at + 16 && from < end; ++from)
      shared[from - at] = *reinterpret_cast<const uint8_t*>(from);
  }
}
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `kPending` of this thread's groups are under way.
template <uint32_t kPending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Asks for part `part` of `parts` of [from, from + bytes) to be brought to L2; by one thread.
__device__ inline void prefetch_to_l2(const void* from, uint32_t bytes, uint32_t part,
                                      uint32_t parts) {
#if __CUDA_ARCH__ >= 900
  const uint64_t first = (reinterpret_cast<uint64_t>(from) + 15) & ~uint64_t{15};
  const uint64_t end = (reinterpret_cast<uint64_t>(from) + bytes) & ~uint64_t{15};
  const uint32_t each = (bytes / 16 + parts - 1) / parts * 16;
  const uint64_t begin = first + uint64_t{part} * each;
  if (begin >= end) return;
  const auto count = static_cast<uint32_t>(end - begin < each ? end - begin : each);
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(begin), "r"(count) : "memory");
#endif
}

// What an earlier kernel wrote: from L2, never from a line that L1 has kept.
__device__ inline float4 load_fresh(const float4* from) {
  float4 r;
  asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(r.x), "=f"(r.y), "=f"(r.z), "=f"(r.w)
               : "l"(from)
               : "memory");
  return r;
}
__device__ inline float load_fresh(const float* from) {
  float r;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(r) : "l"(from) : "memory");
  return r;
}

__device__ inline float f32_of_f16(uint16_t bits) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits));
  return r;
}
__device__ inline uint16_t f16_of_f32(float x) {
  uint16_t r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return r;
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (uint32_t mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(~0u, x, mask);
  return x;
}

}  // namespace decant

#endif  // DECANT_KERNELS_PTX_CUH_
