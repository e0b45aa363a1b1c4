// MTLDevice and what it makes: buffers, libraries, functions, pipelines.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>

#include "testing/metal_host/host.h"
#include "testing/metal_host/objc/metal_objects.h"

namespace decant::metal_host {
namespace {

constexpr uint64_t kMaxBufferBytes = uint64_t{1} << 34;

std::mutex g_mutex;
HostOptions& options_from_environment() {
  static HostOptions options = [] {
    HostOptions first;
    if (const char* seed = std::getenv("DECANT_METAL_HOST_SEED"))
      first.seed = std::strtoull(seed, nullptr, 10);
    if (const char* schedules = std::getenv("DECANT_METAL_HOST_SCHEDULES"))
      first.schedules = static_cast<uint32_t>(std::strtoul(schedules, nullptr, 10));
    const char* checked = std::getenv("DECANT_METAL_HOST_CHECKED");
    first.checked = checked != nullptr && std::string_view(checked) == "1";
    return first;
  }();
  return options;
}

}  // namespace

HostOptions host_options() {
  const std::lock_guard lock(g_mutex);
  return options_from_environment();
}
void set_host_options(const HostOptions& options) {
  const std::lock_guard lock(g_mutex);
  options_from_environment() = options;
}
long live_objects(const std::string& class_name) { return objc::Object::live(class_name); }
long resident_allocations() { return objc::ResidencySet::total_committed; }

namespace objc {
namespace {

Buffer* new_buffer(UInteger length) {
  if (length == 0) invalid("newBuffer: the length is 0");
  if (length > kMaxBufferBytes) return nullptr;
  try {
    return new Buffer(std::make_unique<Memory>(length, "MTLBuffer"));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

LibraryObject* new_library(String* source, Error** error) {
  try {
    return new LibraryObject(Library(text_of(source), {{}, {}, host_options().checked}));
  } catch (const Failure& failure) {
    set_error(error, "MTLLibraryErrorDomain", failure.what());
    return nullptr;
  }
}

// The declared types of the constants that have values must be those given.
void check_types(const Library& library, const ConstantValues& given) {
  for (const abi::FunctionConstant& constant : library.constants()) {
    const auto by_index = given.types_by_index.find(constant.index);
    const auto by_name = given.types_by_name.find(constant.name);
    const std::string type = by_index != given.types_by_index.end() ? by_index->second
                             : by_name != given.types_by_name.end() ? by_name->second
                                                                    : std::string(constant.type);
    if (type != constant.type)
      fail(FailureKind::kBinding,
           "function constant {} '{}' is declared as {}, the value given is a {}", constant.index,
           constant.name, constant.type, type);
  }
}

Function* new_function(LibraryObject* self, String* name, ConstantValues* values, Error** error) {
  try {
    if (values != nullptr) check_types(self->library, *values);
    return new Function(
        self->library.kernel(text_of(name), values == nullptr ? Constants() : values->values));
  } catch (const Failure& failure) {
    set_error(error, "MTLLibraryErrorDomain", failure.what());
    return nullptr;
  }
}

Pipeline* new_pipeline(Function* function, Error** error) {
  if (function == nullptr) invalid("newComputePipelineState: the function is nil");
  if (const size_t bytes = function->kernel.static_threadgroup_bytes();
      bytes > abi::kMaxThreadgroupBytes) {
    set_error(error, "AGXMetal",
              fmt::format("{}: {} bytes of threadgroup variables, the limit is {}",
                          function->kernel.name(), bytes, abi::kMaxThreadgroupBytes));
    return nullptr;
  }
  return new Pipeline(function->kernel);
}

}  // namespace

const Methods& labelled_methods() {
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    methods->add("setLabel:",
                 [](Labelled* self, SEL, String* text) { self->set_label(text_of(text)); });
    methods->add("label", [](Labelled* self, SEL) { return make_string(self->label); });
    methods->add("device", [](Labelled*, SEL) { return Device::instance(); });
    return methods;
  }();
  return *table;
}

Device* Device::instance() {
  static auto* const device = new Device;
  return device;
}

const Methods& Device::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    methods->add("name", [](Device*, SEL) { return make_string("Metal host executor"); });
    methods->add("registryID", [](Device*, SEL) -> uint64_t { return 1; });
    methods->add("hasUnifiedMemory", [](Device*, SEL) { return true; });
    // Apple 7 to 9: what the shim offers. 5001 is Metal 3.
    methods->add("supportsFamily:", [](Device*, SEL, long family) {
      return (family >= 1001 && family <= 1009) || family == 5001;
    });
    methods->add("maxThreadgroupMemoryLength",
                 [](Device*, SEL) -> UInteger { return abi::kMaxThreadgroupBytes; });
    methods->add("maxBufferLength", [](Device*, SEL) -> UInteger { return kMaxBufferBytes; });
    methods->add("recommendedMaxWorkingSetSize", [](Device*, SEL) -> uint64_t {
      return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
             static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    });
#if defined(__x86_64__)
    methods->add("maxThreadsPerThreadgroup", [](Size* out, Device*, SEL) {
      *out = {abi::kMaxGroupThreads, abi::kMaxGroupThreads, abi::kMaxGroupThreads};
    });
#else
    methods->add("maxThreadsPerThreadgroup", [](Device*, SEL) -> Size {
      return {abi::kMaxGroupThreads, abi::kMaxGroupThreads, abi::kMaxGroupThreads};
    });
#endif
    methods->add("newBufferWithLength:options:",
                 [](Device*, SEL, UInteger length, UInteger) { return new_buffer(length); });
    methods->add("newBufferWithBytes:length:options:",
                 [](Device*, SEL, const void* bytes, UInteger length, UInteger) {
                   Buffer* buffer = new_buffer(length);
                   if (buffer != nullptr) std::memcpy(buffer->memory->data(), bytes, length);
                   return buffer;
                 });
    methods->add(
        "newBufferWithBytesNoCopy:length:options:deallocator:",
        [](Device*, SEL, void* bytes, UInteger length, UInteger, void* deallocator) {
          const auto page = static_cast<UInteger>(sysconf(_SC_PAGESIZE));
          if (reinterpret_cast<UInteger>(bytes) % page != 0 || length % page != 0 || length == 0)
            invalid("newBufferWithBytesNoCopy: {} bytes at {}: expected whole pages", length,
                    bytes);
          if (deallocator != nullptr)
            invalid("newBufferWithBytesNoCopy: deallocators are not supported");
          return new Buffer(
              std::make_unique<Memory>(static_cast<std::byte*>(bytes), length, "MTLBuffer"));
        });
    methods->add("newCommandQueue", [](Device*, SEL) { return new Queue; });
    methods->add("newCommandQueueWithMaxCommandBufferCount:",
                 [](Device*, SEL, UInteger) { return new Queue; });
    methods->add("newLibraryWithSource:options:error:",
                 [](Device*, SEL, String* source, Object*, Error** error) {
                   return new_library(source, error);
                 });
    methods->add("newComputePipelineStateWithFunction:error:",
                 [](Device*, SEL, Function* function, Error** error) {
                   return new_pipeline(function, error);
                 });
    methods->add("newResidencySetWithDescriptor:error:",
                 [](Device*, SEL, ResidencyDescriptor*, Error**) { return new ResidencySet; });
    return methods;
  }();
  return *table;
}

void Buffer::set_label(std::string text) {
  memory->set_label("MTLBuffer '" + text + "'");
  label = std::move(text);
}

const Methods& Buffer::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("contents", [](Buffer* self, SEL) -> void* { return self->memory->data(); });
    methods->add("length", [](Buffer* self, SEL) -> UInteger { return self->memory->bytes(); });
    methods->add("allocatedSize",
                 [](Buffer* self, SEL) -> UInteger { return self->memory->room(); });
    methods->add("gpuAddress", [](Buffer* self, SEL) {
      return reinterpret_cast<uint64_t>(self->memory->data());
    });
    methods->add("storageMode", [](Buffer*, SEL) -> UInteger { return 0; });
    return methods;
  }();
  return *table;
}

const Methods& CompileOptionsObject::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    // Here maths is always precise, and the language always 3.1.
    for (const char* setter : {"setLanguageVersion:", "setFastMathEnabled:", "setMathMode:",
                               "setMathFloatingPointFunctions:", "setOptimizationLevel:"})
      methods->add(setter, [](CompileOptionsObject*, SEL, UInteger) {});
    return methods;
  }();
  return *table;
}

const Methods& LibraryObject::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("newFunctionWithName:", [](LibraryObject* self, SEL, String* name) {
      return new_function(self, name, nullptr, nullptr);
    });
    methods->add("newFunctionWithName:constantValues:error:",
                 [](LibraryObject* self, SEL, String* name, ConstantValues* values, Error** error) {
                   return new_function(self, name, values, error);
                 });
    methods->add("functionNames", [](LibraryObject* self, SEL) -> Object* {
      auto* names = new Array;
      for (std::string& name : self->library.kernel_names())
        names->items.push_back(Ref<Object>::adopt(new String(std::move(name))));
      return names->autorelease();
    });
    return methods;
  }();
  return *table;
}

std::string ConstantValues::type_name(UInteger data_type) {
  static const std::map<UInteger, std::string> kNames = {
      {3, "float"}, {16, "half"},  {29, "int"},  {33, "uint"}, {37, "short"}, {41, "ushort"},
      {45, "char"}, {49, "uchar"}, {53, "bool"}, {81, "long"}, {85, "ulong"}};
  const auto found = kNames.find(data_type);
  return found == kNames.end() ? "" : found->second;
}

const Methods& ConstantValues::methods() const {
  static const auto bytes_of = [](const void* value, UInteger type) {
    static const std::map<std::string, size_t> kSizes = {
        {"float", 4}, {"half", 2},  {"int", 4},  {"uint", 4}, {"short", 2}, {"ushort", 2},
        {"char", 1},  {"uchar", 1}, {"bool", 1}, {"long", 8}, {"ulong", 8}};
    const auto found = kSizes.find(type_name(type));
    if (found == kSizes.end()) invalid("setConstantValue: data type {} is not supported", type);
    return std::span(static_cast<const std::byte*>(value), found->second);
  };
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    methods->add("setConstantValue:type:atIndex:",
                 [](ConstantValues* self, SEL, const void* value, UInteger type, UInteger index) {
                   self->values.set(static_cast<uint32_t>(index), bytes_of(value, type));
                   self->types_by_index[static_cast<uint32_t>(index)] = type_name(type);
                 });
    methods->add("setConstantValue:type:withName:",
                 [](ConstantValues* self, SEL, const void* value, UInteger type, String* name) {
                   self->values.set(text_of(name), bytes_of(value, type));
                   self->types_by_name[text_of(name)] = type_name(type);
                 });
    return methods;
  }();
  return *table;
}

const Methods& Function::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("name", [](Function* self, SEL) { return make_string(self->kernel.name()); });
    methods->add("functionType", [](Function*, SEL) -> UInteger { return 3; });  // a kernel
    return methods;
  }();
  return *table;
}

const Methods& Pipeline::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("maxTotalThreadsPerThreadgroup",
                 [](Pipeline* self, SEL) -> UInteger { return self->kernel.max_threads(); });
    methods->add("threadExecutionWidth", [](Pipeline*, SEL) -> UInteger { return abi::kLanes; });
    methods->add("staticThreadgroupMemoryLength", [](Pipeline* self, SEL) -> UInteger {
      return self->kernel.static_threadgroup_bytes();
    });
    return methods;
  }();
  return *table;
}

const Methods& ResidencyDescriptor::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("setInitialCapacity:", [](ResidencyDescriptor*, SEL, UInteger) {});
    return methods;
  }();
  return *table;
}

std::atomic<long> ResidencySet::total_committed = 0;

const Methods& ResidencySet::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("addAllocation:", [](ResidencySet* self, SEL, Object* allocation) {
      self->allocations.emplace_back(allocation);
    });
    methods->add("removeAllocation:", [](ResidencySet* self, SEL, Object* allocation) {
      std::erase_if(self->allocations,
                    [&](const Ref<Object>& held) { return held.get() == allocation; });
    });
    methods->add("removeAllAllocations",
                 [](ResidencySet* self, SEL) { self->allocations.clear(); });
    methods->add("allocationCount",
                 [](ResidencySet* self, SEL) -> UInteger { return self->allocations.size(); });
    methods->add("commit", [](ResidencySet* self, SEL) { self->set_committed(); });
    for (const char* request : {"requestResidency", "endResidency"})
      methods->add(request, [](ResidencySet*, SEL) {});
    return methods;
  }();
  return *table;
}

void register_metal() {
  const auto with_alloc = [](auto alloc) {
    Methods methods(&object_methods());
    methods.add("alloc", alloc);
    return methods;
  };
  register_class("MTLCompileOptions",
                 with_alloc([](Object*, SEL) -> Object* { return new CompileOptionsObject; }));
  register_class("MTLFunctionConstantValues",
                 with_alloc([](Object*, SEL) -> Object* { return new ConstantValues; }));
  register_class("MTLResidencySetDescriptor", with_alloc([](Object*, SEL) -> Object* {
                   return host_options().residency_sets ? new ResidencyDescriptor : nullptr;
                 }));
}

}  // namespace objc
}  // namespace decant::metal_host

// NOLINTBEGIN(readability-identifier-naming): Apple's names
extern "C" {
decant::metal_host::objc::Object* MTLCreateSystemDefaultDevice() {
  return decant::metal_host::objc::Device::instance();
}
decant::metal_host::objc::Object* MTLCopyAllDevices() {
  auto* all = new decant::metal_host::objc::Array;
  all->items.emplace_back(decant::metal_host::objc::Device::instance());
  return all;
}
// No device ever comes or goes.
decant::metal_host::objc::Object* MTLCopyAllDevicesWithObserver(
    decant::metal_host::objc::Object** observer, const void*) {
  if (observer != nullptr) *observer = nullptr;
  return MTLCopyAllDevices();
}
void MTLRemoveDeviceObserver(decant::metal_host::objc::Object*) {}
}
// NOLINTEND(readability-identifier-naming)
