#include "decant/metal/pipelines.h"

#include "decant/core/error.h"
#include "decant/core/kernel_source.h"

namespace decant::metal {
namespace {

// What headers shared with the host take from <cstddef>.
constexpr std::string_view kPrelude =
    "#define offsetof(type, member) __builtin_offsetof(type, member)\n";
constexpr std::string_view kKeptIncludes[] = {"metal_stdlib"};

NS::String* ns_string(const std::string& text) {
  return NS::String::string(text.c_str(), NS::UTF8StringEncoding);
}

[[noreturn]] void fail_compilation(Kernel kernel, const std::string& log) {
  fail(ErrorKind::kCompilationFailed, "kernel '{}': Metal cannot compile {}:\n{}", kernel->name,
       kernel->metal.source, log);
}

}  // namespace

std::string text_of(const NS::Error* error) {
  const NS::String* text = error ? error->localizedDescription() : nullptr;
  return text && text->utf8String() ? text->utf8String() : "no reason given";
}

const Pipeline& PipelineCache::get(Kernel kernel) {
  const std::lock_guard lock(mutex_);
  const auto found = pipelines_.find(kernel);
  if (found != pipelines_.end()) return found->second;
  return pipelines_.emplace(kernel, compile(kernel)).first->second;
}

MTL::Library* PipelineCache::library(Kernel kernel) {
  NS::SharedPtr<MTL::Library>& library = libraries_[kernel->metal.source];
  if (library) return library.get();
  const std::string source =
      std::string(kPrelude) + flatten_source(kernel->metal.source, kKeptIncludes);
  const auto options = NS::TransferPtr(MTL::CompileOptions::alloc()->init());
  options->setLanguageVersion(MTL::LanguageVersion3_1);
  // A NaN has to stay one, and infinities to compare as such.
  options->setFastMathEnabled(false);
  NS::Error* error = nullptr;
  library = NS::TransferPtr(device_->newLibrary(ns_string(source), options.get(), &error));
  if (!library) fail_compilation(kernel, text_of(error));
  return library.get();
}

Pipeline PipelineCache::compile(Kernel kernel) {
  const AutoreleaseScope scope;
  const GpuKernel& code = kernel->metal;
  MTL::Library* from = library(kernel);
  NS::Error* error = nullptr;
  NS::SharedPtr<MTL::Function> function;
  if (code.constants.empty()) {
    function = NS::TransferPtr(from->newFunction(ns_string(code.entry)));
  } else {
    const auto values = NS::TransferPtr(MTL::FunctionConstantValues::alloc()->init());
    for (const KernelConstant& constant : code.constants)
      values->setConstantValue(&constant.value, MTL::DataTypeUInt, ns_string(constant.name));
    function = NS::TransferPtr(from->newFunction(ns_string(code.entry), values.get(), &error));
  }
  if (!function)
    fail_compilation(kernel, fmt::format("no function '{}' ({})", code.entry,
                                         error ? text_of(error) : "the file does not define it"));
  Pipeline pipeline;
  pipeline.state = NS::TransferPtr(device_->newComputePipelineState(function.get(), &error));
  if (!pipeline.state) fail_compilation(kernel, text_of(error));
  pipeline.max_threads = pipeline.state->maxTotalThreadsPerThreadgroup();
  pipeline.static_threadgroup_bytes = pipeline.state->staticThreadgroupMemoryLength();
  return pipeline;
}

}  // namespace decant::metal
