// Metal source, compiled and run on the CPU.
//
//   metal_host::Library library(source);
//   metal_host::Memory x(4096, "x");
//   library.kernel("scale").run({Arg::buffer(x), Arg::value(2.0f)}, {32}, {32});
#ifndef DECANT_TESTING_METAL_HOST_LIBRARY_H_
#define DECANT_TESTING_METAL_HOST_LIBRARY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "testing/metal_host/compiler.h"
#include "testing/metal_host/engine.h"
#include "testing/metal_host/failure.h"
#include "testing/metal_host/memory.h"

namespace decant::metal_host {

// Values of function constants, by index or by name.
class Constants {
 public:
  template <typename T>
  Constants& set(uint32_t index, const T& value) {
    return set(index, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  Constants& set(const std::string& name, const T& value) {
    return set(name, std::as_bytes(std::span(&value, 1)));
  }
  Constants& set(uint32_t index, std::span<const std::byte> value);
  Constants& set(const std::string& name, std::span<const std::byte> value);
  // Null if it has no value. The index goes before the name.
  const std::vector<std::byte>* find(uint32_t index, const std::string& name) const;
  auto operator<=>(const Constants&) const = default;  // NOLINT(modernize-use-nullptr)

 private:
  std::map<uint32_t, std::vector<std::byte>> by_index_;
  std::map<std::string, std::vector<std::byte>> by_name_;
};

// What stands at one [[buffer(n)]]: nothing, a buffer from an offset on, or bytes.
struct Arg {
  static Arg none() { return {}; }
  static Arg buffer(const Memory& memory, size_t offset = 0) { return {&memory, offset, {}}; }
  static Arg bytes(std::span<const std::byte> value) {
    return {nullptr, 0, std::vector<std::byte>(value.begin(), value.end())};
  }
  template <typename T>
  static Arg value(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return bytes(std::as_bytes(std::span(&value, 1)));
  }

  const Memory* memory = nullptr;
  size_t offset = 0;
  std::vector<std::byte> inline_bytes;
};

// A compiled library, loaded with one set of constants.
struct Module {
  std::string path;
  const abi::Library* table = nullptr;
  Constants constants;
};

class Kernel {
 public:
  Kernel(std::shared_ptr<const Module> module, const abi::Kernel& kernel, bool checked);

  std::string name() const { return kernel_->name; }
  std::span<const abi::Param> params() const { return {kernel_->params, kernel_->num_params}; }
  uint32_t max_threads() const;  // 1024, or what the kernel says
  // Of the variables in the kernel's body.
  size_t static_threadgroup_bytes() const;

  // Runs `groups` threadgroups of `threads` threads. args[n] is [[buffer(n)]], and shared[n] the
  // length in bytes of [[threadgroup(n)]]. Throws Failure.
  void run(std::span<const Arg> args, const Size3& groups, const Size3& threads,
           std::span<const size_t> shared = {}, const RunOptions& options = {}) const;
  void run(std::initializer_list<Arg> args, const Size3& groups, const Size3& threads,
           std::initializer_list<size_t> shared = {}, const RunOptions& options = {}) const {
    run(std::span(args.begin(), args.size()), groups, threads,
        std::span(shared.begin(), shared.size()), options);
  }
  // What run() checks before it runs.
  DispatchPlan plan(std::span<const Arg> args, const Size3& groups, const Size3& threads,
                    std::span<const size_t> shared) const;

 private:
  void bind(const abi::Param& param, std::span<const Arg> args, DispatchPlan& plan) const;

  std::shared_ptr<const Module> module_;
  const abi::Kernel* kernel_;
  std::vector<abi::ThreadgroupVariable> variables_;
  bool checked_;
};

class Library {
 public:
  // Throws Failure kCompile; what() is the compiler's log.
  explicit Library(std::string_view source, const CompileOptions& options = {});

  std::vector<std::string> kernel_names() const;
  std::span<const abi::FunctionConstant> constants() const;
  // Throws Failure kUnknownKernel, also if the kernel uses a function constant without a value.
  Kernel kernel(const std::string& name, const Constants& constants = {}) const;

 private:
  std::shared_ptr<const Module> load(const Constants& constants) const;

  std::string path_;
  bool checked_;
  // Shared by copies of the library.
  struct Loaded {
    std::mutex mutex;
    std::map<Constants, std::shared_ptr<const Module>> modules;
  };
  std::shared_ptr<Loaded> loaded_ = std::make_shared<Loaded>();
};

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_LIBRARY_H_
