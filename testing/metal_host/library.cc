#include "testing/metal_host/library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>

namespace decant::metal_host {
namespace {

// What metal_host_function_constant answers while a library is loaded.
const Constants* g_constants = nullptr;
std::mutex g_load_mutex;

// A copy of its own for every set of constants: the loader would give one file's globals once.
void* load_copy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const int memory = memfd_create("metal_host_kernels", MFD_CLOEXEC);
  if (memory < 0) fail(FailureKind::kCompile, "cannot make a file in memory");
  for (size_t at = 0; at < content.size();) {
    const ssize_t written = write(memory, content.data() + at, content.size() - at);
    if (written <= 0) fail(FailureKind::kCompile, "cannot write a file in memory");
    at += static_cast<size_t>(written);
  }
  // Never closed, neither the file nor the library: the loader tells libraries apart by device and
  // inode, and reports refer to code.
  void* handle = dlopen(fmt::format("/proc/self/fd/{}", memory).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) fail(FailureKind::kCompile, "cannot load {}: {}", path, dlerror());
  return handle;
}

constexpr size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

// Holds the bytes of a dispatch, flush with a guard page but for alignment.
std::byte* place_bytes(uint32_t index, std::span<const std::byte> value, size_t alignment) {
  static auto* const memories =
      new std::array<std::unique_ptr<Memory>, abi::kMaxBuffers>;  // outlives every static
  std::unique_ptr<Memory>& memory = (*memories)[index];
  if (!memory) memory = std::make_unique<Memory>(4096, fmt::format("bytes of argument {}", index));
  memory->resize(value.size(), alignment);
  std::memcpy(memory->data(), value.data(), value.size());
  return memory->data();
}

}  // namespace

Constants& Constants::set(uint32_t index, std::span<const std::byte> value) {
  by_index_[index].assign(value.begin(), value.end());
  return *this;
}
Constants& Constants::set(const std::string& name, std::span<const std::byte> value) {
  by_name_[name].assign(value.begin(), value.end());
  return *this;
}
const std::vector<std::byte>* Constants::find(uint32_t index, const std::string& name) const {
  if (const auto found = by_index_.find(index); found != by_index_.end()) return &found->second;
  if (const auto found = by_name_.find(name); found != by_name_.end()) return &found->second;
  return nullptr;
}

Library::Library(std::string_view source, const CompileOptions& options)
    : path_(compile(source, options)), checked_(options.checked) {
  load({});
}

std::shared_ptr<const Module> Library::load(const Constants& constants) const {
  const std::lock_guard lock(loaded_->mutex);
  std::shared_ptr<const Module>& module = loaded_->modules[constants];
  if (module) return module;
  const std::lock_guard load_lock(g_load_mutex);
  g_constants = &constants;
  void* handle = load_copy(path_);
  g_constants = nullptr;
  const auto table =
      reinterpret_cast<const abi::Library* (*)()>(dlsym(handle, "metal_host_library"));
  if (table == nullptr) fail(FailureKind::kCompile, "{} has no table of kernels", path_);
  module = std::make_shared<const Module>(Module{path_, table(), constants});
  return module;
}

std::vector<std::string> Library::kernel_names() const {
  const abi::Library& table = *load({})->table;
  std::vector<std::string> names;
  for (uint32_t i = 0; i < table.num_kernels; ++i) names.emplace_back(table.kernels[i].name);
  return names;
}

std::span<const abi::FunctionConstant> Library::constants() const {
  const abi::Library& table = *load({})->table;
  return {table.constants, table.num_constants};
}

Kernel Library::kernel(const std::string& name, const Constants& constants) const {
  for (const abi::FunctionConstant& constant : this->constants()) {
    const auto* value = constants.find(constant.index, constant.name);
    if (value != nullptr && value->size() != constant.size)
      fail(FailureKind::kBinding, "{}: function constant {} '{}' is a {} of {} bytes, got {}", name,
           constant.index, constant.name, constant.type, constant.size, value->size());
  }
  const std::shared_ptr<const Module> module = load(constants);
  const abi::Library& table = *module->table;
  const abi::Kernel* end = table.kernels + table.num_kernels;
  const abi::Kernel* found = std::find_if(
      table.kernels, end, [&](const abi::Kernel& kernel) { return kernel.name == name; });
  if (found == end)
    fail(FailureKind::kUnknownKernel, "no kernel is called {}; there are: {}", name,
         fmt::join(kernel_names(), ", "));
  for (const char* const* use = found->uses; *use != nullptr; ++use)
    for (const abi::FunctionConstant& constant : this->constants())
      if (constant.name == std::string_view(*use) &&
          constants.find(constant.index, constant.name) == nullptr)
        fail(FailureKind::kUnknownKernel, "{}: function constant {} '{}' has no value", name,
             constant.index, constant.name);
  return {module, *found, checked_};
}

Kernel::Kernel(std::shared_ptr<const Module> module, const abi::Kernel& kernel, bool checked)
    : module_(std::move(module)), kernel_(&kernel), checked_(checked) {
  // A variable belongs to the kernel that begins last before the place it is noted at. Code may be
  // duplicated, so it may be noted twice.
  const abi::Library& table = *module_->table;
  for (const auto* variable = table.variables_begin; variable != table.variables_end; ++variable) {
    const abi::Kernel* owner = nullptr;
    for (uint32_t i = 0; i < table.num_kernels; ++i) {
      const abi::Kernel& candidate = table.kernels[i];
      if (candidate.code <= variable->code && (owner == nullptr || candidate.code > owner->code))
        owner = &candidate;
    }
    const bool known = std::any_of(
        variables_.begin(), variables_.end(),
        [&](const abi::ThreadgroupVariable& other) { return other.id == variable->id; });
    if (owner != nullptr && owner->code == kernel_->code && !known) variables_.push_back(*variable);
  }
}

uint32_t Kernel::max_threads() const {
  return kernel_->max_threads == 0 ? abi::kMaxGroupThreads : kernel_->max_threads;
}

size_t Kernel::static_threadgroup_bytes() const {
  size_t bytes = 0;
  for (const abi::ThreadgroupVariable& variable : variables_)
    bytes = round_up(bytes, variable.align) + variable.size;
  return round_up(bytes, 16);
}

void Kernel::bind(const abi::Param& param, std::span<const Arg> args, DispatchPlan& plan) const {
  if (!param.used || param.kind != abi::ParamKind::kBuffer) return;
  const auto what = [&] {
    return fmt::format("{}: argument {} '{}'", name(), param.index, param.name);
  };
  if (param.index >= args.size() ||
      (args[param.index].memory == nullptr && args[param.index].inline_bytes.empty()))
    fail(FailureKind::kBinding, "{}: nothing is bound", what());
  const Arg& arg = args[param.index];
  if (arg.memory == nullptr) {
    if (param.writable)
      fail(FailureKind::kBinding, "{}: the kernel may write it, but bytes are bound", what());
    if (arg.inline_bytes.size() > 4096)
      fail(FailureKind::kBinding, "{}: bytes are limited to 4096, got {}", what(),
           arg.inline_bytes.size());
    plan.buffers[param.index] = place_bytes(param.index, arg.inline_bytes, param.align);
  } else {
    if (arg.offset > arg.memory->bytes())
      fail(FailureKind::kBinding, "{}: offset {} is beyond the buffer's {} bytes", what(),
           arg.offset, arg.memory->bytes());
    plan.buffers[param.index] = arg.memory->data() + arg.offset;
  }
  const size_t bytes =
      arg.memory == nullptr ? arg.inline_bytes.size() : arg.memory->bytes() - arg.offset;
  if (param.reference && bytes < param.size)
    fail(FailureKind::kBinding, "{}: the kernel reads {} bytes, {} are bound", what(), param.size,
         bytes);
  if (reinterpret_cast<uintptr_t>(plan.buffers[param.index]) % param.align != 0)
    fail(FailureKind::kBinding, "{}: the kernel's type needs {}-byte alignment, the offset is {}",
         what(), param.align, arg.offset);
}

DispatchPlan Kernel::plan(std::span<const Arg> args, const Size3& groups, const Size3& threads,
                          std::span<const size_t> shared) const {
  DispatchPlan plan;
  plan.kernel = kernel_;
  plan.library_path = module_->path.c_str();
  plan.groups = groups;
  plan.threads = threads;
  plan.variables = &variables_;
  plan.checked = checked_;
  if (groups.count() == 0 || threads.count() == 0 || threads.count() > max_threads())
    fail(FailureKind::kLaunch,
         "{}: {} x {} x {} groups of {} x {} x {} threads: expected at least one group and 1 to {} "
         "threads",
         name(), groups.x, groups.y, groups.z, threads.x, threads.y, threads.z, max_threads());
  if (args.size() > abi::kMaxBuffers || shared.size() > abi::kMaxThreadgroupArgs)
    fail(FailureKind::kBinding, "{}: at most 31 arguments of a kind, got {} and {}", name(),
         args.size(), shared.size());
  size_t total = static_threadgroup_bytes();
  for (size_t i = 0; i < shared.size(); ++i) {
    if (shared[i] % 16 != 0)
      fail(FailureKind::kThreadgroupMemory,
           "{}: threadgroup memory {}: the length must be a multiple of 16, got {}", name(), i,
           shared[i]);
    plan.threadgroup_bytes[i] = shared[i];
    total += shared[i];
  }
  if (total > abi::kMaxThreadgroupBytes)
    fail(FailureKind::kThreadgroupMemory, "{}: {} bytes of threadgroup memory, the limit is {}",
         name(), total, abi::kMaxThreadgroupBytes);
  for (const abi::Param& param : params()) {
    bind(param, args, plan);
    if (param.kind != abi::ParamKind::kThreadgroup || !param.used) continue;
    const size_t bytes = plan.threadgroup_bytes[param.index];
    if (bytes == 0 || (param.reference && bytes < param.size))
      fail(FailureKind::kBinding, "{}: threadgroup memory {} '{}' has {} bytes, expected {}",
           name(), param.index, param.name, bytes, std::max(param.size, 1u));
  }
  return plan;
}

void Kernel::run(std::span<const Arg> args, const Size3& groups, const Size3& threads,
                 std::span<const size_t> shared, const RunOptions& options) const {
  const DispatchPlan resolved = plan(args, groups, threads, shared);
  next_interval();  // the run before may have failed
  run_dispatch(resolved, options);
  next_interval();
}

}  // namespace decant::metal_host

const void* metal_host_function_constant(unsigned index, const char* name) {
  using decant::metal_host::g_constants;
  const auto* value = g_constants == nullptr ? nullptr : g_constants->find(index, name);
  return value == nullptr ? nullptr : value->data();
}
