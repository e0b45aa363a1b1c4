// Kernels by name, their code for each backend, and the rules by which a graph may fuse two of
// them.
#ifndef DECANT_CORE_KERNEL_REGISTRY_H_
#define DECANT_CORE_KERNEL_REGISTRY_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

class CommandEncoder;
class DispatchView;

// What a dispatch computes, as far as the graph optimiser needs to know.
enum class OpKind : uint8_t {
  kOther,
  kSdpa,  // scaled dot-product attention: never reordered, never fused
  kMatMul,
  kNorm,
  kElementwise,
};
std::string_view to_string(OpKind kind);

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
  bool operator==(const Dim3&) const = default;
};

// --- CPU kernels: one call computes one group of the grid. -----------------------------------

struct CpuArg {
  std::byte* data;
  size_t bytes;
};

struct CpuGroup {
  const CpuArg* args;
  std::byte* shared;  // shared_bytes of scratch of this group's own, 64-byte aligned, not cleared
  Dim3 group;         // which group of the grid this is
  Dim3 grid;
  // `shared` holds what the thread's last group left there, which was of this same dispatch: work
  // that all groups have in common need not be done again.
  bool shared_kept = false;

  template <typename T>
  T* arg(size_t index) const {
    return reinterpret_cast<T*>(args[index].data);
  }
  template <typename T>
  const T& params() const {  // slot 0 by convention
    return *reinterpret_cast<const T*>(args[0].data);
  }
};

using CpuKernel = void (*)(const CpuGroup& group);

// --- GPU kernels: functions of a source file that is compiled at first use. -------------------

// A compile-time constant of a variant: a macro of that name in CUDA, a function constant in Metal.
struct KernelConstant {
  std::string name;
  uint32_t value;
};

struct GpuKernel {
  // An embedded file (kernel_source.h) or, recognised by a line feed, the text itself. Empty: no
  // code for this backend.
  std::string source{};
  std::string entry{};  // the function's name in it
  std::vector<KernelConstant> constants{};
};

// --- Registry --------------------------------------------------------------------------------

struct KernelDef {
  std::string name;
  OpKind kind = OpKind::kOther;
  CpuKernel cpu = nullptr;
  GpuKernel cuda{};
  GpuKernel metal{};
};

// A resolved kernel; valid as long as its registry.
using Kernel = const KernelDef*;

// Lets a Graph replace dispatch `first`, whose argument `first_output` is exactly the range that
// argument `second_input` of dispatch `second` reads, by one dispatch. The graph proves that the
// replacement is safe; the rule only says how to build it.
struct FusionRule {
  std::string name;
  std::string first;
  std::string second;
  uint32_t first_output = 0;
  uint32_t second_input = 0;
  // The fused kernel does not write the intermediate. Then the graph also requires that it is
  // scratch and that nobody else reads it.
  bool drops_intermediate = false;
  // Records exactly one dispatch and returns true, or returns false if the two do not fit.
  std::function<bool(const DispatchView& first, const DispatchView& second, CommandEncoder& out)>
      fuse;
};

// One per device. All methods may be called from any thread.
class KernelRegistry {
 public:
  KernelRegistry() = default;
  KernelRegistry(const KernelRegistry&) = delete;
  KernelRegistry& operator=(const KernelRegistry&) = delete;

  // Adding the same name twice throws InvalidArgument.
  void add(KernelDef def);
  void add_fusion(FusionRule rule);

  // Throws KernelNotFound, naming the closest registered names.
  Kernel resolve(std::string_view name) const;
  std::vector<std::string> names() const;
  std::vector<const FusionRule*> fusions() const;

  // The one T of this registry, made at the first call by make(registry), typically a struct of
  // resolved kernels that registers them first. Later calls cost one atomic load: no locks, no
  // strings.
  template <typename T, typename Make>
  const T& once(Make&& make) {
    const size_t slot = type_slot<T>();
    if (const void* made = slots_[slot].load(std::memory_order_acquire))
      return *static_cast<const T*>(made);
    const std::lock_guard lock(once_mutex_);
    if (const void* made = slots_[slot].load(std::memory_order_relaxed))
      return *static_cast<const T*>(made);
    auto owned = std::make_shared<const T>(make(*this));
    const T* raw = owned.get();
    owned_.push_back(std::move(owned));
    slots_[slot].store(raw, std::memory_order_release);
    return *raw;
  }

 private:
  static size_t next_slot();
  template <typename T>
  static size_t type_slot() {
    static const size_t slot = next_slot();
    return slot;
  }

  static constexpr size_t kMaxSlots = 256;  // types that once() serves in a process
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<KernelDef>, std::less<>> kernels_;
  std::vector<std::unique_ptr<FusionRule>> fusions_;
  std::recursive_mutex once_mutex_;
  std::array<std::atomic<const void*>, kMaxSlots> slots_{};
  std::vector<std::shared_ptr<const void>> owned_;
};

}  // namespace decant

#endif  // DECANT_CORE_KERNEL_REGISTRY_H_
