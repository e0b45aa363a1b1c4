#include "decant/core/kernel_registry.h"

#include <algorithm>
#include <numeric>

#include "decant/core/error.h"

namespace decant {
namespace {

// Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view to_string(OpKind kind) {
  switch (kind) {
    case OpKind::kOther:
      return "other";
    case OpKind::kSdpa:
      return "sdpa";
    case OpKind::kMatMul:
      return "matmul";
    case OpKind::kNorm:
      return "norm";
    case OpKind::kElementwise:
      return "elementwise";
  }
  return "unknown";
}

void KernelRegistry::add(KernelDef def) {
  require(!def.name.empty(), "KernelRegistry::add: name must not be empty");
  const std::lock_guard lock(mutex_);
  require(!kernels_.contains(def.name), "KernelRegistry::add: '{}' is registered already",
          def.name);
  auto owned = std::make_unique<KernelDef>(std::move(def));
  std::string name = owned->name;
  kernels_.emplace(std::move(name), std::move(owned));
}

void KernelRegistry::add_fusion(FusionRule rule) {
  require(rule.fuse != nullptr, "KernelRegistry::add_fusion: '{}' has no function", rule.name);
  const std::lock_guard lock(mutex_);
  fusions_.push_back(std::make_unique<FusionRule>(std::move(rule)));
}

Kernel KernelRegistry::resolve(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  if (const auto it = kernels_.find(name); it != kernels_.end()) return it->second.get();

  std::vector<std::pair<size_t, std::string_view>> near;
  for (const auto& [known, def] : kernels_) near.emplace_back(edit_distance(name, known), known);
  std::sort(near.begin(), near.end());
  std::string hint;
  for (size_t i = 0; i < std::min<size_t>(near.size(), 3); ++i)
    hint += fmt::format("{}'{}'", i ? ", " : "; closest: ", near[i].second);
  fail(ErrorKind::kKernelNotFound, "kernel '{}' is not registered ({} are{})", name,
       kernels_.size(), hint);
}

std::vector<std::string> KernelRegistry::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> all;
  for (const auto& [name, def] : kernels_) all.push_back(name);
  return all;
}

std::vector<const FusionRule*> KernelRegistry::fusions() const {
  const std::lock_guard lock(mutex_);
  std::vector<const FusionRule*> all;
  for (const auto& rule : fusions_) all.push_back(rule.get());
  return all;
}

size_t KernelRegistry::next_slot() {
  static std::atomic<size_t> next{0};
  const size_t slot = next.fetch_add(1);
  require(slot < kMaxSlots, "KernelRegistry::once: more than {} types", kMaxSlots);
  return slot;
}

}  // namespace decant
