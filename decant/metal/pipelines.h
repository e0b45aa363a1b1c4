// Kernels to pipelines: one library for each source file, compiled when its first kernel is used.
#ifndef DECANT_METAL_PIPELINES_H_
#define DECANT_METAL_PIPELINES_H_

#include <Foundation/Foundation.hpp>
#include <Metal/Metal.hpp>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

#include "decant/core/kernel_registry.h"

namespace decant::metal {

// Text of Apple's, for messages; "no reason given" for none.
std::string text_of(const NS::Error* error);

// Whatever Apple's calls release "later" is released at the end of the scope.
class AutoreleaseScope {
 public:
  AutoreleaseScope() : pool_(NS::TransferPtr(NS::AutoreleasePool::alloc()->init())) {}

 private:
  NS::SharedPtr<NS::AutoreleasePool> pool_;
};

struct Pipeline {
  NS::SharedPtr<MTL::ComputePipelineState> state;
  NS::UInteger max_threads = 0;               // of a threadgroup
  NS::UInteger static_threadgroup_bytes = 0;  // variables declared in the kernel
};

// May be used from any thread.
class PipelineCache {
 public:
  explicit PipelineCache(NS::SharedPtr<MTL::Device> device) : device_(std::move(device)) {}

  // Stays valid as long as the cache. Throws CompilationFailed naming kernel and file, with the
  // compiler's log.
  const Pipeline& get(Kernel kernel);

 private:
  MTL::Library* library(Kernel kernel);
  Pipeline compile(Kernel kernel);

  NS::SharedPtr<MTL::Device> device_;
  std::mutex mutex_;
  std::map<std::string, NS::SharedPtr<MTL::Library>> libraries_;  // by source file
  std::unordered_map<Kernel, Pipeline> pipelines_;
};

}  // namespace decant::metal

#endif  // DECANT_METAL_PIPELINES_H_
