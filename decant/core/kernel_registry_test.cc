#include "decant/core/kernel_registry.h"

#include <gtest/gtest.h>

#include <thread>

#include "decant/core/error.h"

namespace decant {
namespace {

void nothing(const CpuGroup&) {}

TEST(KernelRegistry, ResolvesWhatWasAdded) {
  KernelRegistry registry;
  registry.add({.name = "rms_norm_f32", .kind = OpKind::kNorm, .cpu = &nothing});
  const Kernel kernel = registry.resolve("rms_norm_f32");
  EXPECT_EQ(kernel->name, "rms_norm_f32");
  EXPECT_EQ(kernel->kind, OpKind::kNorm);
  EXPECT_EQ(kernel->cpu, &nothing);
  // Handles stay valid while others are added.
  for (int i = 0; i < 1000; ++i) registry.add({.name = fmt::format("kernel_{}", i)});
  EXPECT_EQ(registry.resolve("rms_norm_f32"), kernel);
  EXPECT_EQ(registry.names().size(), 1001u);
}

TEST(KernelRegistry, NamesNearMisses) {
  KernelRegistry registry;
  try {
    registry.resolve("anything");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kKernelNotFound);
    EXPECT_STREQ(e.what(), "kernel 'anything' is not registered (0 are)");
  }
  for (const char* name : {"mat_vec_q4_k", "mat_vec_q8_0", "softcap_f32", "rms_norm_f32", "argmax"})
    registry.add({.name = name, .cpu = &nothing});
  try {
    registry.resolve("mat_vec_q5_k");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kKernelNotFound);
    const std::string what = e.what();
    EXPECT_TRUE(
        what.starts_with("kernel 'mat_vec_q5_k' is not registered (5 are; closest: "
                         "'mat_vec_q4_k', 'mat_vec_q8_0', "))
        << what;
    EXPECT_EQ(what.find("softcap"), std::string::npos) << "three names are enough: " << what;
  }
  EXPECT_THROW(registry.resolve(""), Error);
  EXPECT_THROW(registry.resolve("argmax "), Error);
  EXPECT_THROW(registry.resolve("ARGMAX"), Error);
}

TEST(KernelRegistry, RefusesDuplicatesAndBadDefinitions) {
  KernelRegistry registry;
  registry.add({.name = "a", .kind = OpKind::kNorm, .cpu = &nothing});
  const Kernel first = registry.resolve("a");
  try {
    registry.add({.name = "a"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
    EXPECT_STREQ(e.what(), "KernelRegistry::add: 'a' is registered already");
  }
  EXPECT_EQ(registry.resolve("a"), first);
  EXPECT_EQ(first->cpu, &nothing);
  EXPECT_THROW(registry.add({.name = ""}), Error);
  EXPECT_THROW(
      registry.add_fusion({.name = "no function", .first = "a", .second = "a", .fuse = {}}), Error);
  EXPECT_TRUE(registry.fusions().empty());
}

TEST(KernelRegistry, KeepsFusionRulesInOrder) {
  KernelRegistry registry;
  for (const char* name : {"one", "two", "three"})
    registry.add_fusion(
        {.name = name,
         .first = "a",
         .second = "b",
         .fuse = [](const DispatchView&, const DispatchView&, CommandEncoder&) { return false; }});
  const std::vector<const FusionRule*> rules = registry.fusions();
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[0]->name, "one");
  EXPECT_EQ(rules[2]->name, "three");
}

struct Counted {
  int id;
};
struct Other {
  const Counted* counted;
};

TEST(KernelRegistry, OnceMakesOneForEachTypeAndRegistry) {
  KernelRegistry a, b;
  int made = 0;
  const auto make = [&](KernelRegistry&) { return Counted{++made}; };
  const Counted& first = a.once<Counted>(make);
  EXPECT_EQ(&a.once<Counted>(make), &first);
  EXPECT_EQ(made, 1);
  EXPECT_EQ(b.once<Counted>(make).id, 2);
  // make() may itself ask for another type.
  KernelRegistry c;
  const Other& other =
      c.once<Other>([&](KernelRegistry& r) { return Other{&r.once<Counted>(make)}; });
  EXPECT_EQ(other.counted, &c.once<Counted>(make));
  EXPECT_EQ(made, 3);
}

TEST(KernelRegistry, OnceTriesAgainAfterAFailure) {
  KernelRegistry registry;
  EXPECT_THROW(registry.once<Counted>([](KernelRegistry& r) -> Counted {
    r.resolve("missing");
    return {};
  }),
               Error);
  EXPECT_EQ(registry.once<Counted>([](KernelRegistry&) { return Counted{5}; }).id, 5);
}

TEST(KernelRegistry, OnceFromManyThreads) {
  for (int round = 0; round < 20; ++round) {
    KernelRegistry registry;
    std::atomic<int> made{0};
    std::vector<const Counted*> got(8);
    std::vector<std::thread> threads;
    threads.reserve(got.size());
    for (const Counted*& one : got)
      threads.emplace_back([&] {
        one = &registry.once<Counted>([&](KernelRegistry& r) {
          r.add({.name = "counted", .cpu = &nothing});  // a second add would throw
          return Counted{++made};
        });
        EXPECT_EQ(registry.resolve("counted")->cpu, &nothing);
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(made, 1);
    for (const Counted* one : got) EXPECT_EQ(one, got[0]);
  }
}

}  // namespace
}  // namespace decant
