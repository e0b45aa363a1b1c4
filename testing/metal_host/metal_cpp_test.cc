// metal-cpp on Linux: what a host program says to Metal, the stand-in does, or refuses.
#define NS_PRIVATE_IMPLEMENTATION
#define MTL_PRIVATE_IMPLEMENTATION
#include <gtest/gtest.h>

#include <Foundation/Foundation.hpp>
#include <Metal/Metal.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "testing/metal_host/host.h"
#include "testing/metal_host/test_support.h"

namespace decant::metal_host {
namespace {

constexpr const char* kSource = R"(
#include <metal_stdlib>
using namespace metal;
constant float bias [[function_constant(3)]];

kernel void scale(device float* x [[buffer(0)]], constant float& factor [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  x[i] *= factor;
}
kernel void add_bias(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] += bias;
}
kernel void reverse(device float* x [[buffer(0)]], threadgroup float* shared [[threadgroup(0)]],
                    uint i [[thread_position_in_threadgroup]],
                    uint n [[threads_per_threadgroup]]) {
  shared[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = shared[n - 1 - i];
}
kernel void copy(device const float* from [[buffer(0)]], device float* to [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) {
  to[i] = from[i];
}
[[max_total_threads_per_threadgroup(64)]]
kernel void small_groups(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1;
}
kernel void too_much_memory(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float big[8193];
  big[i] = 1;
  x[i] = big[i];
}
kernel void turn(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]],
                   uint n [[threads_per_grid]]) {
  x[i] = x[(i + 1) % n];
}
)";

NS::String* ns_string(const std::string& text) {
  return NS::String::string(text.c_str(), NS::UTF8StringEncoding);
}
std::string text_of(const NS::Error* error) {
  return error == nullptr ? "" : error->localizedDescription()->utf8String();
}

::testing::AssertionResult has_words(const std::string& text,
                                     std::initializer_list<const char*> words) {
  for (const char* word : words)
    if (text.find(word) == std::string::npos)
      return ::testing::AssertionFailure() << "no '" << word << "' in '" << text << "'";
  return ::testing::AssertionSuccess();
}

class MetalCpp : public ::testing::Test {
 protected:
  void SetUp() override {
    DECANT_SKIP_WITHOUT_METAL_COMPILER();
    options_ = host_options();
    live_buffers_ = live_objects("MTLBuffer");
    pool_ = NS::TransferPtr(NS::AutoreleasePool::alloc()->init());
    device_ = NS::TransferPtr(MTL::CreateSystemDefaultDevice());
    queue_ = NS::TransferPtr(device_->newCommandQueue());
    NS::Error* error = nullptr;
    library_ = NS::TransferPtr(device_->newLibrary(ns_string(kSource), nullptr, &error));
    ASSERT_TRUE(library_) << text_of(error);
  }
  void TearDown() override {
    if (!pool_) return;  // skipped
    library_.reset();
    queue_.reset();
    pool_.reset();
    EXPECT_EQ(live_objects("MTLBuffer"), live_buffers_);
    EXPECT_EQ(live_objects("MTLCommandBuffer"), 0);
    EXPECT_EQ(live_objects("MTLComputeCommandEncoder"), 0);
    set_host_options(options_);
  }

  NS::SharedPtr<MTL::ComputePipelineState> pipeline(const char* name) {
    const auto values = NS::TransferPtr(MTL::FunctionConstantValues::alloc()->init());
    const float bias = 0.5f;
    values->setConstantValue(&bias, MTL::DataTypeFloat, NS::UInteger{3});
    NS::Error* error = nullptr;
    const auto function =
        NS::TransferPtr(library_->newFunction(ns_string(name), values.get(), &error));
    EXPECT_TRUE(function) << text_of(error);
    auto state = NS::TransferPtr(device_->newComputePipelineState(function.get(), &error));
    EXPECT_TRUE(state) << text_of(error);
    return state;
  }
  NS::SharedPtr<MTL::Buffer> buffer(const std::vector<float>& values) {
    return NS::TransferPtr(device_->newBuffer(values.data(), values.size() * sizeof(float),
                                              MTL::ResourceStorageModeShared));
  }
  static std::vector<float> content(const MTL::Buffer* buffer) {
    std::vector<float> values(buffer->length() / sizeof(float));
    std::memcpy(values.data(), const_cast<MTL::Buffer*>(buffer)->contents(), buffer->length());
    return values;
  }
  static void dispatch(MTL::ComputeCommandEncoder* encoder, const MTL::ComputePipelineState* state,
                       const std::vector<MTL::Buffer*>& buffers, NS::UInteger groups,
                       NS::UInteger threads) {
    encoder->setComputePipelineState(state);
    for (size_t i = 0; i < buffers.size(); ++i) encoder->setBuffer(buffers[i], 0, i);
    encoder->dispatchThreadgroups(MTL::Size::Make(groups, 1, 1), MTL::Size::Make(threads, 1, 1));
  }

  // What the command buffer's error says, if it has one.
  static std::string run(MTL::CommandBuffer* commands, MTL::ComputeCommandEncoder* encoder) {
    encoder->endEncoding();
    commands->commit();
    commands->waitUntilCompleted();
    return text_of(commands->error());
  }

  // x *= 3, then y = x, with or without a barrier between them.
  struct Copied {
    std::string error;
    float copied;
  };
  Copied scale_then_copy(MTL::DispatchType type, bool barrier) {
    const auto scale = pipeline("scale"), copy = pipeline("copy");
    const auto x = buffer(std::vector<float>(32, 1.0f));
    const auto y = buffer(std::vector<float>(32, 0.0f));
    MTL::CommandBuffer* commands = queue_->commandBuffer();
    MTL::ComputeCommandEncoder* encoder = commands->computeCommandEncoder(type);
    const float factor = 3;
    encoder->setBytes(&factor, sizeof factor, 1);
    dispatch(encoder, scale.get(), {x.get()}, 1, 32);
    if (barrier) encoder->memoryBarrier(MTL::BarrierScopeBuffers);
    dispatch(encoder, copy.get(), {x.get(), y.get()}, 1, 32);
    const std::string error = run(commands, encoder);
    return {error, content(y.get())[31]};
  }

  HostOptions options_;
  long live_buffers_ = 0;
  NS::SharedPtr<NS::AutoreleasePool> pool_;
  NS::SharedPtr<MTL::Device> device_;
  NS::SharedPtr<MTL::CommandQueue> queue_;
  NS::SharedPtr<MTL::Library> library_;
};

TEST_F(MetalCpp, DeviceDescribesItself) {
  EXPECT_STREQ(device_->name()->utf8String(), "Metal host executor");
  EXPECT_TRUE(device_->supportsFamily(MTL::GPUFamilyApple7));
  EXPECT_FALSE(device_->supportsFamily(MTL::GPUFamilyMac2));
  EXPECT_TRUE(device_->hasUnifiedMemory());
  EXPECT_EQ(device_->maxThreadgroupMemoryLength(), 32768u);
  EXPECT_EQ(device_->maxThreadsPerThreadgroup().width, 1024u);
}

TEST_F(MetalCpp, RunsWhatWasEncoded) {
  const auto scale = pipeline("scale"), add_bias = pipeline("add_bias"),
             reverse = pipeline("reverse");
  std::vector<float> values(96);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const auto x = buffer(values);
  MTL::CommandBuffer* commands = queue_->commandBuffer();
  MTL::ComputeCommandEncoder* encoder =
      commands->computeCommandEncoder(MTL::DispatchTypeConcurrent);
  const float factor = 2;
  encoder->setComputePipelineState(scale.get());
  encoder->setBuffer(x.get(), 32 * sizeof(float), 0);  // not the first 32
  encoder->setBytes(&factor, sizeof factor, 1);
  encoder->dispatchThreads(MTL::Size::Make(64, 1, 1), MTL::Size::Make(32, 1, 1));
  encoder->memoryBarrier(MTL::BarrierScopeBuffers);
  dispatch(encoder, add_bias.get(), {x.get()}, 3, 32);
  encoder->memoryBarrier(MTL::BarrierScopeBuffers);
  encoder->setThreadgroupMemoryLength(96 * sizeof(float), 0);
  dispatch(encoder, reverse.get(), {x.get()}, 1, 96);
  encoder->endEncoding();
  EXPECT_EQ(content(x.get()), values) << "nothing runs before commit";
  commands->commit();
  commands->waitUntilCompleted();
  EXPECT_EQ(commands->status(), MTL::CommandBufferStatusCompleted);
  EXPECT_EQ(commands->error(), nullptr);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t from = 95 - i;
    EXPECT_EQ(content(x.get())[i], static_cast<float>(from) * (from < 32 ? 1 : 2) + 0.5f) << i;
  }
}

// Between two barriers dispatches have no order: a reader overtakes its writer under some seed.
TEST_F(MetalCpp, MissingBarrierShows) {
  int overtaken = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    set_host_options({.seed = seed});
    overtaken += scale_then_copy(MTL::DispatchTypeConcurrent, false).copied != 3;
    EXPECT_EQ(scale_then_copy(MTL::DispatchTypeConcurrent, true).copied, 3) << seed;
    EXPECT_EQ(scale_then_copy(MTL::DispatchTypeSerial, false).copied, 3) << seed;
  }
  EXPECT_GT(overtaken, 2);
  EXPECT_LT(overtaken, 10);
}

// Several schedules of the same work have to leave the same bits.
TEST_F(MetalCpp, SchedulesAreCompared) {
  set_host_options({.seed = 0, .schedules = 3});
  for (const MTL::DispatchType type : {MTL::DispatchTypeSerial, MTL::DispatchTypeConcurrent}) {
    const Copied good = scale_then_copy(type, true);
    EXPECT_EQ(good.error, "");
    EXPECT_EQ(good.copied, 3) << "as if it had run once";
  }
  EXPECT_TRUE(has_words(scale_then_copy(MTL::DispatchTypeConcurrent, false).error,
                        {"Race", "depend on the schedule", "argument 1 of copy", "under seed 1"}));
  // The same for the threads of one dispatch.
  const auto turn = pipeline("turn");
  const auto x = buffer({1, 2, 3, 4});
  MTL::CommandBuffer* commands = queue_->commandBuffer();
  MTL::ComputeCommandEncoder* encoder = commands->computeCommandEncoder();
  dispatch(encoder, turn.get(), {x.get()}, 1, 4);
  EXPECT_TRUE(has_words(run(commands, encoder), {"Race", "byte 2 of argument 0 of turn"}));
}

// The checked build needs no luck: it names both dispatches and lines.
TEST_F(MetalCpp, MissingBarrierIsNamedWhenChecked) {
  set_host_options({.seed = 0, .checked = true});
  NS::Error* error = nullptr;
  library_ = NS::TransferPtr(device_->newLibrary(ns_string(kSource), nullptr, &error));
  ASSERT_TRUE(library_) << text_of(error);
  EXPECT_EQ(scale_then_copy(MTL::DispatchTypeConcurrent, true).error, "");
  EXPECT_TRUE(
      has_words(scale_then_copy(MTL::DispatchTypeConcurrent, false).error,
                {"Race", "of scale writes", "of copy reads", "two dispatches", ":8", ":22"}));
}

TEST_F(MetalCpp, CompileErrorsCarryTheLog) {
  NS::Error* error = nullptr;
  const std::string broken =
      "#include <metal_stdlib>\nkernel void k(device float* x [[buffer(0)]]) "
      "{\n  x[0] = undeclared_name;\n}\n";
  const auto library = NS::TransferPtr(device_->newLibrary(ns_string(broken), nullptr, &error));
  EXPECT_FALSE(library);
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(error->domain()->utf8String(), "MTLLibraryErrorDomain");
  EXPECT_NE(text_of(error).find("program_source:3"), std::string::npos) << text_of(error);
  EXPECT_NE(text_of(error).find("undeclared_name"), std::string::npos) << text_of(error);
}

TEST_F(MetalCpp, FunctionsNeedTheirNamesAndConstants) {
  EXPECT_FALSE(NS::TransferPtr(library_->newFunction(ns_string("no_such_kernel"))));
  EXPECT_TRUE(NS::TransferPtr(library_->newFunction(ns_string("scale"))));
  NS::Error* error = nullptr;
  const auto none = NS::TransferPtr(MTL::FunctionConstantValues::alloc()->init());
  EXPECT_FALSE(NS::TransferPtr(library_->newFunction(ns_string("add_bias"), none.get(), &error)));
  EXPECT_NE(text_of(error).find("'bias' has no value"), std::string::npos) << text_of(error);
  const auto wrong = NS::TransferPtr(MTL::FunctionConstantValues::alloc()->init());
  const uint32_t bias = 1;
  wrong->setConstantValue(&bias, MTL::DataTypeUInt, ns_string("bias"));
  EXPECT_FALSE(NS::TransferPtr(library_->newFunction(ns_string("add_bias"), wrong.get(), &error)));
  EXPECT_NE(text_of(error).find("declared as float"), std::string::npos) << text_of(error);
}

TEST_F(MetalCpp, PipelinesKnowTheirLimits) {
  EXPECT_EQ(pipeline("scale")->maxTotalThreadsPerThreadgroup(), 1024u);
  EXPECT_EQ(pipeline("small_groups")->maxTotalThreadsPerThreadgroup(), 64u);
  EXPECT_EQ(pipeline("scale")->threadExecutionWidth(), 32u);
  NS::Error* error = nullptr;
  const auto function = NS::TransferPtr(library_->newFunction(ns_string("too_much_memory")));
  EXPECT_FALSE(NS::TransferPtr(device_->newComputePipelineState(function.get(), &error)));
  EXPECT_NE(text_of(error).find("32784 bytes of threadgroup"), std::string::npos) << text_of(error);
}

TEST_F(MetalCpp, FailingCommandBuffersSayWhy) {
  const auto scale = pipeline("scale");
  const auto x = buffer(std::vector<float>(48, 1.0f));
  x->setLabel(ns_string("activations"));
  MTL::CommandBuffer* commands = queue_->commandBuffer();
  MTL::ComputeCommandEncoder* encoder = commands->computeCommandEncoder();
  const float factor = 2;
  encoder->setBytes(&factor, sizeof factor, 1);
  dispatch(encoder, scale.get(), {x.get()}, 2, 32);  // of 64 threads, 16 have no element
  encoder->endEncoding();
  int calls = 0;
  commands->addCompletedHandler([&](MTL::CommandBuffer* done) {
    ++calls;
    EXPECT_EQ(done, commands);
  });
  commands->commit();
  commands->waitUntilCompleted();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(commands->status(), MTL::CommandBufferStatusError);
  EXPECT_TRUE(has_words(text_of(commands->error()),
                        {"OutOfBounds", "scale", "which has 192 bytes", "activations", ":8"}));
}

TEST_F(MetalCpp, BuffersReleasedTooEarlyAreFound) {
  const auto scale = pipeline("scale");
  for (const bool retained : {true, false}) {
    auto x = buffer(std::vector<float>(32, 1.0f));
    MTL::CommandBuffer* commands =
        retained ? queue_->commandBuffer() : queue_->commandBufferWithUnretainedReferences();
    MTL::ComputeCommandEncoder* encoder = commands->computeCommandEncoder();
    const float factor = 2;
    encoder->setBytes(&factor, sizeof factor, 1);
    dispatch(encoder, scale.get(), {x.get()}, 1, 32);
    encoder->endEncoding();
    commands->commit();
    x.reset();
    commands->waitUntilCompleted();
    EXPECT_EQ(commands->status(),
              retained ? MTL::CommandBufferStatusCompleted : MTL::CommandBufferStatusError);
    EXPECT_EQ(text_of(commands->error()).find("Released") != std::string::npos, !retained);
  }
}

TEST_F(MetalCpp, ReleasedObjectsAnswerNoMore) {
  MTL::Buffer* x = device_->newBuffer(64, MTL::ResourceStorageModeShared);
  EXPECT_EQ(x->retainCount(), 1u);
  x->retain();
  x->release();
  x->release();
  EXPECT_TRUE(is_failure(failure_of([&] { x->contents(); }), FailureKind::kReleased,
                         {"contents", "MTLBuffer"}));
  EXPECT_TRUE(is_failure(failure_of([&] { x->release(); }), FailureKind::kReleased, {"release"}));
}

TEST_F(MetalCpp, ResidencySetsKeepTheirBuffers) {
  const auto descriptor = NS::TransferPtr(MTL::ResidencySetDescriptor::alloc()->init());
  NS::Error* error = nullptr;
  const auto set = NS::TransferPtr(device_->newResidencySet(descriptor.get(), &error));
  auto x = buffer({1, 2, 3});
  set->addAllocation(x.get());
  set->commit();
  queue_->addResidencySet(set.get());
  EXPECT_EQ(x->retainCount(), 2u);
  set->removeAllocation(x.get());
  EXPECT_EQ(set->allocationCount(), 0u);
  EXPECT_EQ(x->retainCount(), 1u);
}

// What Metal's API validation aborts on is an exception here.
TEST_F(MetalCpp, MisuseIsRefused) {
  const auto scale = pipeline("scale"), small = pipeline("small_groups");
  const auto x = buffer(std::vector<float>(128, 1.0f));
  const auto refused = [&](FailureKind kind, std::initializer_list<const char*> words,
                           const std::function<void(MTL::ComputeCommandEncoder*)>& misuse) {
    MTL::CommandBuffer* commands = queue_->commandBuffer();
    MTL::ComputeCommandEncoder* encoder = commands->computeCommandEncoder();
    const auto failure = failure_of([&] { misuse(encoder); });
    encoder->endEncoding();
    return is_failure(failure, kind, words);
  };
  EXPECT_TRUE(refused(FailureKind::kValidation, {"no pipeline"}, [](auto* encoder) {
    encoder->dispatchThreadgroups(MTL::Size::Make(1, 1, 1), MTL::Size::Make(32, 1, 1));
  }));
  EXPECT_TRUE(refused(FailureKind::kBinding, {"argument 1", "factor"},
                      [&](auto* encoder) { dispatch(encoder, scale.get(), {x.get()}, 1, 32); }));
  EXPECT_TRUE(refused(FailureKind::kValidation, {"5000 bytes"},
                      [&](auto* encoder) { encoder->setBytes(x->contents(), 5000, 1); }));
  EXPECT_TRUE(refused(FailureKind::kValidation, {"offset 512"},
                      [&](auto* encoder) { encoder->setBuffer(x.get(), 512, 0); }));
  EXPECT_TRUE(refused(FailureKind::kValidation, {"multiple of 16"},
                      [](auto* encoder) { encoder->setThreadgroupMemoryLength(24, 0); }));
  EXPECT_TRUE(refused(FailureKind::kLaunch, {"small_groups", "64"},
                      [&](auto* encoder) { dispatch(encoder, small.get(), {x.get()}, 1, 128); }));
  MTL::CommandBuffer* commands = queue_->commandBuffer();
  MTL::ComputeCommandEncoder* encoder = commands->computeCommandEncoder();
  EXPECT_TRUE(is_failure(failure_of([&] { commands->commit(); }), FailureKind::kValidation,
                         {"commit before endEncoding"}));
  encoder->endEncoding();
  EXPECT_TRUE(is_failure(failure_of([&] { commands->waitUntilCompleted(); }),
                         FailureKind::kValidation, {"before commit"}));
  commands->commit();
  EXPECT_TRUE(is_failure(failure_of([&] { commands->commit(); }), FailureKind::kValidation,
                         {"committed twice"}));
  commands->waitUntilCompleted();
  EXPECT_TRUE(is_failure(failure_of([&] { commands->presentDrawable(nullptr); }),
                         FailureKind::kValidation, {"does not answer 'presentDrawable:'"}));
}

}  // namespace
}  // namespace decant::metal_host
