#include "decant/cuda/cubin_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "decant/core/encoder.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;
namespace fs = std::filesystem;
using cuda::CubinCache;

class CubinCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fake::reset();
    folder_ = fs::path(::testing::TempDir()) / fmt::format("decant_cubin_cache_{}", ::getpid());
    fs::remove_all(folder_);
  }
  void TearDown() override {
    fs::permissions(folder_, fs::perms::owner_all, ignored_);
    fs::remove_all(folder_);
  }

  size_t files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  // Runs one kernel with a fresh device; returns how many compilations that took.
  int run_a_kernel() const {
    const int before = fake::nvrtc().compiled;
    const Device device = Device::cuda(fake::options(folder_.string()));
    const KernelDef kernel{.name = "k",
                           .cuda = {.source = "//fake k 4 8\n", .entry = "k", .constants = {}}};
    CommandEncoder encoder(device);
    encoder.dispatch(&kernel, {bytes(uint32_t{1})}, {});
    encoder.commit_and_wait();
    return fake::nvrtc().compiled - before;
  }

  fs::path folder_;
  std::error_code ignored_;
};

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

TEST_F(CubinCacheTest, FindsWhatWasStored) {
  const CubinCache cache(folder_.string());
  EXPECT_EQ(cache.find("k", "key"), std::nullopt);
  const std::vector<char> code = {'c', '\0', 'd'};
  cache.store("k", "key", code);
  EXPECT_EQ(cache.find("k", "key"), code);
  EXPECT_EQ(cache.find("k", "kez"), std::nullopt);
  EXPECT_EQ(cache.find("l", "key"), std::nullopt);
  cache.store("k", "key", {});
  EXPECT_EQ(cache.find("k", "key"), std::vector<char>());
  EXPECT_EQ(files(), 1u) << "no temporary file is left";
}

// Two keys whose hashes are equal would have one file.
TEST_F(CubinCacheTest, TheKeyInTheFileDecides) {
  const CubinCache cache(folder_.string());
  cache.store("k", "one", {'1'});
  fs::copy_file(cache.path("k", "one"), cache.path("k", "two"));
  EXPECT_EQ(cache.find("k", "two"), std::nullopt);
}

TEST_F(CubinCacheTest, WhateverElseLiesThereIsNoHit) {
  const CubinCache cache(folder_.string());
  const std::vector<char> code(100, 'c');
  cache.store("k", "key", code);
  const fs::path path = cache.path("k", "key");
  const std::string good = read(path);
  for (size_t length = 0; length < good.size(); ++length) {
    write(path, good.substr(0, length));
    ASSERT_EQ(cache.find("k", "key"), std::nullopt) << "cut to " << length;
  }
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x40);
    write(path, bad);
    ASSERT_EQ(cache.find("k", "key"), std::nullopt) << "byte " << at << " changed";
  }
  write(path, good + "x");
  EXPECT_EQ(cache.find("k", "key"), std::nullopt);
  write(path, std::string(1 << 20, '\xFF'));
  EXPECT_EQ(cache.find("k", "key"), std::nullopt);
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_EQ(cache.find("k", "key"), std::nullopt);
  cache.store("k", "key", code);  // cannot; no error
  fs::remove(path);
  cache.store("k", "key", code);
  EXPECT_EQ(cache.find("k", "key"), code);
}

TEST_F(CubinCacheTest, NoFolderAtAll) {
  const CubinCache none("");
  none.store("k", "key", {'1'});
  EXPECT_EQ(none.find("k", "key"), std::nullopt);
  const CubinCache impossible("/dev/null/folder");
  impossible.store("k", "key", {'1'});
  EXPECT_EQ(impossible.find("k", "key"), std::nullopt);
}

TEST_F(CubinCacheTest, ASecondDeviceCompilesNothing) {
  EXPECT_EQ(run_a_kernel(), 1);
  EXPECT_EQ(run_a_kernel(), 0);
  fake::nvrtc().minor = 1;
  EXPECT_EQ(run_a_kernel(), 1) << "another compiler";
  fake::driver().capability = 80;
  EXPECT_EQ(run_a_kernel(), 1) << "another architecture";
  EXPECT_EQ(run_a_kernel(), 0);
}

TEST_F(CubinCacheTest, ACorruptFileOnlyCostsTime) {
  EXPECT_EQ(run_a_kernel(), 1);
  const fs::path path = fs::directory_iterator(folder_)->path();
  write(path, read(path).substr(0, 30));
  EXPECT_EQ(run_a_kernel(), 1);
  EXPECT_EQ(run_a_kernel(), 0) << "it was replaced";
}

TEST_F(CubinCacheTest, AReadOnlyFolderOnlyCostsTime) {
  fs::create_directories(folder_);
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_EQ(run_a_kernel(), 1);
  if (::getuid() != 0) {  // root writes anywhere
    EXPECT_EQ(run_a_kernel(), 1);
    EXPECT_EQ(files(), 0u);
  }
}

// Many processes store and find the same keys; nobody ever sees half a file.
TEST_F(CubinCacheTest, ProcessesDoNotDisturbEachOther) {
  constexpr int kProcesses = 4, kRounds = 100;
  const CubinCache cache(folder_.string());
  const auto code_of = [](int key) { return std::vector<char>(50000, static_cast<char>(key)); };
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    if (child == 0) {
      int wrong = 0;
      for (int round = 0; round < kRounds; ++round) {
        const int key = round % 3;
        cache.store("k", std::to_string(key), code_of(key));
        const auto found = cache.find("k", std::to_string(key));
        wrong += !found || *found != code_of(key);
      }
      ::_exit(wrong != 0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << "a process found no file, or a wrong one";
  }
  EXPECT_EQ(files(), 3u);
}

// Processes that need the same kernel at the same moment, each with a device, a driver and a
// compiler of its own: all run it, whoever compiles, and one file of it is left, a whole one.
TEST_F(CubinCacheTest, TwoProcessesCompileAtOnce) {
  constexpr int kProcesses = 2, kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    fs::remove_all(folder_);
    int start[2];
    ASSERT_EQ(::pipe(start), 0);
    std::vector<pid_t> children;
    for (int p = 0; p < kProcesses; ++p) {
      const pid_t child = ::fork();
      if (child == 0) {
        char go = 0;
        ::close(start[1]);
        if (::read(start[0], &go, 1) != 0) ::_exit(3);  // returns when the parent closes its end
        const size_t before = fake::driver().launches.size();
        try {
          const int compiled = run_a_kernel();
          const bool ran = fake::driver().launches.size() == before + 1;
          ::_exit(ran && compiled <= 1 ? 0 : 1);
        } catch (const std::exception&) {
          ::_exit(2);
        }
      }
      children.push_back(child);
    }
    ::close(start[0]);
    ::close(start[1]);
    for (const pid_t child : children) {
      int status = 1;
      ::waitpid(child, &status, 0);
      EXPECT_EQ(status, 0) << "a process did not run the kernel";
    }
    EXPECT_EQ(files(), 1u);
    EXPECT_EQ(run_a_kernel(), 0) << "the file that is left is no good";
  }
}

}  // namespace
}  // namespace decant
