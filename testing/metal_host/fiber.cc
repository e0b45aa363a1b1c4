#include "testing/metal_host/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

// Only what a called function must keep is saved; no signal mask, no system call.
#if defined(__x86_64__)
asm(R"(
.text
.globl metal_host_fiber_switch
.type metal_host_fiber_switch, @function
metal_host_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size metal_host_fiber_switch, . - metal_host_fiber_switch
)");
constexpr size_t kSavedWords = 6;
constexpr size_t kReturnWord = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.globl metal_host_fiber_switch
.type metal_host_fiber_switch, %function
metal_host_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size metal_host_fiber_switch, . - metal_host_fiber_switch
)");
constexpr size_t kSavedWords = 20;
constexpr size_t kReturnWord = 11;
#else
#error "the executor's context switch knows x86-64 and AArch64"
#endif

namespace decant::metal_host {
namespace {
constexpr size_t kGuardBytes = 4096;
constexpr size_t kStride = Stacks::kStackBytes + kGuardBytes;
}  // namespace

Stacks::Stacks(size_t count) : count_(count) {
  void* at = mmap(nullptr, count * kStride, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<std::byte*>(at);
  for (size_t i = 0; i < count; ++i) mprotect(base_ + i * kStride, kGuardBytes, PROT_NONE);
}

Stacks::~Stacks() { munmap(base_, count_ * kStride); }

void* Stacks::prepare(size_t index, void (*entry)()) const {
  // Stacks whose tops have the same low bits would fight for the same few cache lines.
  const size_t stagger = index % 32 * 128;
  auto* top = reinterpret_cast<uintptr_t*>(base_ + (index + 1) * kStride - stagger - 64);
  // As after a call: the return address below a multiple of 16, above the saved registers.
  uintptr_t* sp = top - kSavedWords - 2;
  for (size_t i = 0; i < kSavedWords; ++i) sp[i] = 0;
  sp[kReturnWord] = reinterpret_cast<uintptr_t>(entry);
#if defined(__x86_64__)
  sp[kReturnWord + 1] = 0;
#endif
  return sp;
}

bool Stacks::is_guard(const void* address) const {
  const auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(address) - base_);
  return offset < count_ * kStride && offset % kStride < kGuardBytes;
}

}  // namespace decant::metal_host
