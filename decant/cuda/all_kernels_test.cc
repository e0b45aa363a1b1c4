// Every CUDA kernel of the library compiles for every architecture, without spilling registers.
// Needs NVRTC but no GPU: the devices are those of a driver that stands for NVIDIA's.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "decant/core/cache_dir.h"
#include "decant/core/device.h"
#include "decant/core/error.h"
#include "decant/core/kernel_source.h"
#include "decant/cuda/compiler.h"
#include "decant/cuda/cubin_cache.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;

struct Variant {
  std::vector<std::string> kernels;
  GpuKernel code;
};

// One for each module: kernels of the same source and constants are compiled together.
std::map<std::string, Variant> variants_of(const KernelRegistry& registry) {
  std::map<std::string, Variant> variants;
  for (const std::string& name : registry.names()) {
    const GpuKernel& code = registry.resolve(name)->cuda;
    if (code.source.empty()) continue;
    std::string key = code.source;
    for (const KernelConstant& constant : code.constants)
      key += fmt::format(" {}={}", constant.name, constant.value);
    Variant& variant = variants[key];
    variant.kernels.push_back(name);
    variant.code = code;
  }
  return variants;
}

// What ptxas tells of a variant, with "entry NAME" lines for the functions there are. Kept from run
// to run in the folder of compiled kernels.
class Report {
 public:
  Report(std::shared_ptr<const cuda::Nvrtc> nvrtc, int capability)
      : nvrtc_(std::move(nvrtc)),
        compiler_(nvrtc_, capability, ""),
        cache_(cache_dir().empty() ? "" : cache_dir() + "/cuda-reports") {}

  std::string of(const std::string& key, const Variant& variant) const {
    const std::string everything =
        fmt::format("{} {} {}\n{}{}", nvrtc_->version, compiler_.arch(), key,
                    flatten_source("decant/cuda/prelude.cuh"), flatten_source(variant.code.source));
    if (const auto known = cache_.find("report", everything))
      return std::string(known->begin(), known->end());
    std::string log =
        compiler_.compile_uncached(variant.kernels[0], variant.code, {"--ptxas-options=-v"}).log;
    cache_.store("report", everything, {log.begin(), log.end()});
    return log;
  }
  const std::string& arch() const { return compiler_.arch(); }

 private:
  std::shared_ptr<const cuda::Nvrtc> nvrtc_;
  cuda::Compiler compiler_;
  cuda::CubinCache cache_;
};

// Whether ptxas counts anything but "0 bytes spill stores, 0 bytes spill loads".
bool spills(const std::string& log) {
  const std::string words = " bytes spill";
  for (size_t at = 0; (at = log.find(words, at)) != std::string::npos; at += words.size()) {
    const size_t number = log.find_last_not_of("0123456789", at - 1) + 1;
    if (log.substr(number, at - number) != "0") return true;
  }
  return false;
}

class AllKernels : public ::testing::TestWithParam<int> {};

TEST_P(AllKernels, CompileWithoutSpills) {
  std::shared_ptr<const cuda::Nvrtc> nvrtc;
  try {
    nvrtc = cuda::Nvrtc::load("");
  } catch (const Error& e) {
    GTEST_SKIP() << "SKIPPED: " << e.what();
  }
  fake::reset();
  fake::driver().capability = GetParam();
  const Device device = Device::cuda(fake::options());
  register_all_kernels(device);
  const std::map<std::string, Variant> variants = variants_of(device.registry());
  EXPECT_GE(variants.size(), 25u) << "the ops' listings are missing";

  const Report report(nvrtc, GetParam());
  std::vector<const std::pair<const std::string, Variant>*> all;
  for (const auto& variant : variants) all.push_back(&variant);
  std::vector<std::string> problems(all.size());
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      for (size_t i; (i = next.fetch_add(1)) < all.size();) {
        const auto& [key, variant] = *all[i];
        try {
          const std::string log = report.of(key, variant);
          for (const std::string& kernel : variant.kernels) {
            const std::string entry = device.registry().resolve(kernel)->cuda.entry;
            if (log.find(fmt::format("entry function '{}'", entry)) == std::string::npos)
              problems[i] += fmt::format("no function '{}' for kernel '{}'\n", entry, kernel);
          }
          if (spills(log)) problems[i] += log;
        } catch (const Error& e) {
          problems[i] = e.what();
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(problems[i], "") << report.arch() << ": " << all[i]->first;
}

INSTANTIATE_TEST_SUITE_P(Archs, AllKernels, ::testing::Values(80, 90, 100),
                         [](const auto& arch) { return fmt::format("sm_{}", arch.param); });

}  // namespace
}  // namespace decant
