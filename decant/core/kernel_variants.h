// Kernels that are compiled for the sizes at hand, made when first needed.
#ifndef DECANT_CORE_KERNEL_VARIANTS_H_
#define DECANT_CORE_KERNEL_VARIANTS_H_

#include <map>
#include <memory>
#include <mutex>

#include "decant/core/kernel_registry.h"

namespace decant {

// Variants of one registry's kernel by what they depend on; `Key` is ordered. A part of what
// KernelRegistry::once keeps. May be used from any thread.
template <typename Key>
class KernelVariants {
 public:
  explicit KernelVariants(KernelRegistry& registry) : state_(std::make_unique<State>(registry)) {}

  // The kernel that make(key), a KernelDef, defined at the first call with this key. Later calls
  // build no strings.
  template <typename Make>
  Kernel get(const Key& key, const Make& make) const {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->kernels.find(key);
    if (found != state_->kernels.end()) return found->second;
    KernelDef def = make(key);
    const std::string name = def.name;
    state_->registry.add(std::move(def));
    return state_->kernels.emplace(key, state_->registry.resolve(name)).first->second;
  }

 private:
  struct State {
    explicit State(KernelRegistry& r) : registry(r) {}
    KernelRegistry& registry;
    std::mutex mutex;
    std::map<Key, Kernel> kernels;
  };
  std::unique_ptr<State> state_;
};

}  // namespace decant

#endif  // DECANT_CORE_KERNEL_VARIANTS_H_
